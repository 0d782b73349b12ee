"""docs/install.md with Python alone, and docs/first-tailnet.md with real clients: followed to the letter."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from harness.clients.tailscaled import QUIET
from harness.provision import Binaries, Provisioner
from harness.servers.local import local_settings, remove_data
from harness.strict import unavailable
from harness.versions import RELEASES
from tests.packaging.conftest import INSTALL
from tests.reading import ROOT, Reader, steps, with_commands

FIRST = ROOT / "docs" / "first-tailnet.md"
KEY = re.compile(r"hskey-auth-[\w-]+")
END_S = 10


def test_with_python_and_with_pipx(tmp_path: Path) -> None:
    """The command is there, from the environment and by itself, and both extras can be imported."""
    uv = shutil.which("uv")
    if uv is None:
        unavailable("there is no uv, which runs pipx here")
    more = with_commands(tmp_path / "bin", {"pipx": f'exec {uv} tool run --quiet pipx "$@"'})
    more |= {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "installed")}
    reader = Reader(tmp_path, INSTALL, more=more)
    done = reader.follow("1. With Python")
    assert done.returncode == 0, done.stdout + done.stderr
    version = r"^\d+\.\d+\.\d+"
    for command in ("headscale", "installed/headscale"):
        said = reader.type(f"{command} version")
        assert re.match(version, said.stdout), said
    assert reader.type("python -c 'import acme, asyncpg, psycopg, headscale.app'").returncode == 0
    assert (tmp_path / "installed" / "headscale").resolve().is_relative_to(tmp_path / "pipx")


def device(stack: ExitStack, folder: Path, client: Binaries) -> Reader:
    """Somebody at a device with a client that runs and is not logged in."""
    folder.mkdir()
    socket = folder / "socket"
    flags = ["--tun=userspace-networking", f"--statedir={folder}", f"--socket={socket}", "--port=0"]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [client.tailscaled, *flags, "--no-logs-no-support"],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, **QUIET, "TS_LOGS_DIR": str(folder)},
        )
    stack.callback(daemon.wait, END_S)
    stack.callback(daemon.terminate)
    return Reader(
        folder,
        FIRST,
        more=with_commands(folder / "bin", {"tailscale": f'exec {client.tailscale} --socket={socket} "$@"'}),
    )


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_the_first_tailnet(stack: ExitStack, provisioner: Provisioner, tmp_path: Path) -> None:
    """From nothing to two devices that reach each other, each command as it stands there."""
    settings = local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5))
    stack.callback(remove_data, settings)
    example = {"http://192.0.2.10:8080": settings.url}
    folder = tmp_path / "server"
    folder.mkdir()
    server = Reader(
        folder, FIRST, instead=example, more={**settings.variables, "HEADSCALE_CLI_TIMEOUT": "30s"}
    )
    done = server.follow("1. The server")
    stack.callback(server.type, "[ ! -e headscale.pid ] || kill $(cat headscale.pid) || true")
    assert done.returncode == 0, done.stderr + (folder / "headscale.log").read_text()
    assert settings.url in (folder / "headscale.log").read_text()
    done = server.follow("2. A user and a key")
    keys = KEY.findall(done.stdout)
    assert len(keys) == 1, done

    client = provisioner.client(RELEASES[-1])
    laptop, desk = (device(stack, tmp_path / name, client) for name in ("laptop", "desk"))
    for one, heading in ((laptop, "3. The first device"), (desk, "4. The second device")):
        one.instead |= example | {"hskey-auth-…": keys[0]}
        done = one.follow(heading)
        assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^pong from laptop \(100\.64\.\d+\.\d+.* via TSMP in", done.stdout, re.M), done.stdout
    done = server.follow("5. What the server sees")
    assert "FAIL" not in done.stdout, done.stdout
    assert re.search(r"laptop.*\n(.*\n)*?.*desk", server.type("headscale nodes list").stdout)
    pid = int((folder / "headscale.pid").read_text())
    assert server.follow("6. To stop it").returncode == 0
    server.type(f"timeout {END_S} sh -c 'while kill -0 {pid} 2>/dev/null; do sleep 0.1; done'")
    assert (folder / "headscale.log").read_text().rstrip().endswith("stopped")


@pytest.mark.parametrize("guide", [INSTALL, FIRST], ids=lambda guide: guide.name)
def test_no_block_of_commands_is_left_out(guide: Path) -> None:
    """Every section with commands is followed by a test here, by its heading."""
    headings = re.findall(r"^## (.+)$", guide.read_text(), re.M)
    wanted = [heading for heading in headings if steps(guide, heading)]
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    assert [heading for heading in wanted if f'"{heading}"' not in tests] == []
    assert wanted
