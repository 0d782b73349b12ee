"""The server's image: nobody's root, nothing that is not needed, and a root file system that nobody writes to."""

import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from harness.ports import free_port
from tests.packaging.conftest import INSTALL
from tests.packaging.programs import inspect, run
from tests.reading import Reader

SIZE_MAX = 180_000_000
NOT_NEEDED = ("apt", "apt-get", "dpkg", "pip", "pip3", "perl", "gcc", "su", "mount", "curl", "wget")
LOOK = f"""
import os, shutil, stat
print([name for name in {NOT_NEEDED!r} if shutil.which(name)])
print([os.path.join(at, name) for at, _, names in os.walk("/") if not at.startswith(("/proc", "/sys"))
       for name in names if os.lstat(os.path.join(at, name)).st_mode & (stat.S_ISUID | stat.S_ISGID)])
"""


@pytest.fixture
def container(image: str, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """One that was started as the guide says: its name, and the host's port of its listener."""
    name, port = f"hs-{secrets.token_hex(4)}", free_port("127.0.0.1")
    instead = {
        "--name headscale": f"--name {name}",
        "--volume headscale:": f"--volume {name}:",
        "docker exec headscale": f"docker exec {name}",
        "--publish 8080:8080": f"--publish 127.0.0.1:{port}:8080",
        "--publish 8443:8443 --publish 3478:3478/udp": "--health-interval 1s",
        "http://192.0.2.10:8080": f"http://127.0.0.1:{port}",
        "headscale:latest": image,
    }
    try:
        done = Reader(tmp_path, INSTALL, instead=instead).follow("3. A container")
        assert done.returncode == 0, done.stderr
        assert "hskey-auth-" in done.stdout
        yield name, port
    finally:
        run("docker", "rm", "--force", "--volumes", name, check=False)
        run("docker", "volume", "rm", name, check=False)


def until_health(name: str, wanted: str) -> None:
    """Until the engine calls it so, within a minute."""
    deadline = time.monotonic() + 60
    while (state := inspect(name)["State"]["Health"])["Status"] != wanted:
        assert time.monotonic() < deadline, state
        time.sleep(0.2)


async def test_it_serves_from_a_root_that_cannot_be_written(container: tuple[str, int]) -> None:
    """As a user without capabilities; what it writes is in the volume."""
    name, port = container
    until_health(name, "healthy")
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/health") as answer:
        assert answer.status == 200
    known = inspect(name)
    assert known["HostConfig"]["ReadonlyRootfs"]
    assert known["Config"]["User"] == "10001:10001"
    status = run("docker", "exec", name, "cat", "/proc/1/status")
    assert "Uid:\t10001\t10001\t10001\t10001" in status
    assert "CapEff:\t0000000000000000" in status
    for place in ("/", "/opt/headscale", "/etc", "/run", "/usr"):
        said = run("docker", "exec", name, "sh", "-c", f"echo x >{place}/file", check=False)
        assert "Read-only file system" in said or "Permission denied" in said, place
    assert "Read-only file system" in run(
        "docker", "exec", "--user", "0", name, "sh", "-c", "echo x >/etc/file", check=False
    )
    assert "db.sqlite" in run("docker", "exec", name, "ls", "/var/lib/headscale")


def test_its_health_is_the_servers(container: tuple[str, int]) -> None:
    """A server that hangs is unhealthy, and well again when it goes on."""
    name, _ = container
    until_health(name, "healthy")
    run("docker", "kill", "--signal", "STOP", name)
    try:
        until_health(name, "unhealthy")
        log = inspect(name)["State"]["Health"]["Log"]
        assert any("did not answer within" in entry["Output"] for entry in log), log
    finally:
        run("docker", "kill", "--signal", "CONT", name)
    until_health(name, "healthy")


def test_it_stops_in_good_order_and_keeps_what_it_has(container: tuple[str, int]) -> None:
    """By the engine's stop, without being killed; started again, its user is there."""
    name, _ = container
    until_health(name, "healthy")
    run("docker", "stop", name)
    assert inspect(name)["State"]["ExitCode"] == 0
    run("docker", "start", name)
    assert '"name": "me"' in run("docker", "exec", name, "headscale", "users", "list", "-o", "json-line")


def test_it_has_what_it_needs_and_little_else(image: str) -> None:
    """PostgreSQL and ACME included; no package manager, no compiler, nothing that gives anybody rights."""
    assert inspect(image)["Size"] < SIZE_MAX
    python = ("docker", "run", "--rm", "--network", "none", "--entrypoint", "python3", image, "-c")
    run(
        *python,
        "import acme, asyncpg, psycopg, ssl, sqlite3; ssl.create_default_context().get_ca_certs() or exit(1)",
    )
    said = subprocess.run([*python, LOOK], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n[]\n"
