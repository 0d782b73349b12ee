"""What the tests of packages share: an image and a Debian package of this checkout, and other programs' images.

No registry is asked: where compose.yaml names images of PostgreSQL and Caddy, Debian's packages of the same programs
stand in for them (`stand-ins/`).
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from harness.backends.engine import DockerEngine, connect
from harness.cache import Cache, cache_root
from harness.errors import Missing
from harness.images import debian
from harness.progress import to_stderr
from harness.provision import Provisioner
from harness.strict import unavailable
from tests.packaging.programs import run
from tests.reading import ROOT, Reader, with_commands

HERE = Path(__file__).parent
# The first run makes a Debian and builds compose.
LIMIT_S = 1800
# What the stand-ins need, and what Debian has on any machine on which a package is installed.
PACKAGES = (
    "adduser",
    "ca-certificates",
    "caddy",
    "dbus",
    "man-db",
    "postgresql",
    "python3",
    "systemd-sysv",
    "wget",
)
COMPOSE_GO = "1.24.9"
# One with pip, which not every machine's own has.
PYTHON = {"python3": f'exec {sys.executable} "$@"'}
INSTALL = ROOT / "docs" / "install.md"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(LIMIT_S))


@pytest.fixture(scope="session")
def cache() -> Cache:
    """What is dear to make."""
    return Cache(cache_root(os.environ), report=to_stderr)


@pytest.fixture(scope="session")
def engine() -> DockerEngine:
    """The container engine."""
    try:
        return connect()
    except Missing as problem:
        unavailable(str(problem))


@pytest.fixture(scope="session")
def stand_ins(engine: DockerEngine, cache: Cache) -> Mapping[str, str]:
    """Images by what is in them: postgres, caddy, systemd. They stay in the engine for the next run."""
    try:
        base = debian(engine, cache, "headscale-harness-debian", PACKAGES, report=to_stderr)
    except Missing as problem:
        unavailable(str(problem))
    made = {}
    for name in ("postgres", "caddy", "systemd"):
        made[name] = f"headscale-harness-{name}:packaging"
        folder = HERE / "stand-ins"
        run(
            "docker", "build", "-q", "--target", name, "-t", made[name], "--build-arg", f"BASE={base}", folder
        )
    return made


@pytest.fixture(scope="session")
def image(engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's image, built as the guide says."""
    tag = f"headscale-under-test:{secrets.token_hex(4)}"
    folder = tmp_path_factory.mktemp("image")
    reader = Reader(
        folder, INSTALL, instead={"headscale:latest": tag}, more=with_commands(folder / "bin", PYTHON)
    )
    done = reader.follow("2. The image")
    assert done.returncode == 0, done.stderr[-3000:]
    yield tag
    run("docker", "rmi", "--force", tag)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package, built as the guide says."""
    folder = tmp_path_factory.mktemp("package")
    more = with_commands(folder / "bin", PYTHON)
    reader = Reader(folder, INSTALL, instead={"build dist": f"build {folder}"}, more=more)
    done = reader.follow("5. The Debian package")
    assert done.returncode == 0, done.stderr[-3000:]
    (made,) = folder.glob("headscale_*.deb")
    return made


@pytest.fixture(scope="session")
def provisioner(cache: Cache) -> Provisioner:
    """What builds programs."""
    return Provisioner(cache, report=to_stderr)


@pytest.fixture(scope="session")
def docker_config(provisioner: Provisioner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DOCKER_CONFIG in which `docker compose` is a command: the machine's own plugin, else one built here."""
    folder = tmp_path_factory.mktemp("docker")
    asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if asked.returncode == 0:
        return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        program = provisioner.go_program(
            HERE / "docker-compose", minimum=COMPOSE_GO, package="github.com/docker/compose/v2/cmd"
        )
    except Missing as problem:
        unavailable(str(problem))
    (folder / "cli-plugins").mkdir()
    (folder / "cli-plugins" / "docker-compose").symlink_to(program)
    return folder
