"""docs/backup.md, docs/upgrading.md and docs/security.md: every command in them is run as it stands, in their order.

The fences ```sh are what operators type. Paths become the test's own, `systemctl` stops and starts a real server,
and `pip install`, which has nothing to fetch here, is only looked at.
"""

import asyncio
import os
import re
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.runs import environ
from harness.servers.local import local_settings
from harness.servers.process import ProcessServer
from headscale.db import upgrading
from tests.integration.fakes import EPHEMERAL_TIMEOUT
from tests.integration.test_schema_upgrades import ALL, RELEASES
from tests.reading import ROOT, typed, with_commands

SERVICE = {"systemctl stop headscale", "systemctl start headscale", "systemctl restart headscale"}
NAMED = "db.sqlite.before-upgrade-from-0.1.0-20260601T120000Z"


class Operator:
    """Somebody who types what a guide says."""

    def __init__(self, server: ProcessServer, folder: Path) -> None:
        self.server = server
        self.backups = folder / "backups"
        self.copy = NAMED
        self.said = ""
        self.installed: list[str] = []
        self.backups.mkdir()
        command = {"headscale": f'exec {sys.executable} -m headscale.cli.main "$@"'}
        self._more = with_commands(folder / "bin", command)

    async def follow(self, block: str) -> None:
        """Each of these lines; what is no service's goes to one shell, until the next that is."""
        typed: list[str] = []
        for line in block.splitlines():
            if line in SERVICE or line.startswith("pip install "):
                await self._type("\n".join(typed))
                typed = []
                await self._serve(line)
            else:
                typed.append(line)
        await self._type("\n".join(typed))

    async def _serve(self, line: str) -> None:
        if line.startswith("pip"):
            self.installed.append(line)
            return
        if "start" not in line.split()[1] or "restart" in line:
            await self.server.stop()
        if "start" in line:
            await self.server.start()

    async def _type(self, text: str) -> None:
        if not text:
            return
        text = text.replace("/srv/backups", str(self.backups)).replace(NAMED, self.copy)
        text = text.replace("/var/lib/headscale", str(self.server.settings.data))
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", text),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environ(self.server.variables, self._more),
        )
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
        self.said = out.decode()
        assert process.returncode == 0, f"{text}\n{self.said}"


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    server = ProcessServer(local_settings("127.0.0.1", ephemeral_timeout=EPHEMERAL_TIMEOUT))
    yield Operator(server, tmp_path)
    await server.close()


def blocks(guide: str) -> Iterator[str]:
    """What is to be typed, in order."""
    found = typed(ROOT / "docs" / guide)
    assert found
    yield from found


async def test_backup_and_restore(operator: Operator) -> None:
    """The first is checked, the nightly one replaces it and forgets old ones, and it brings back what is lost."""
    await operator.server.start()
    await operator.server.create_user("kept")
    guide = blocks("backup.md")
    await operator.follow(next(guide))
    assert "is sound" in operator.said
    old = operator.backups / "headscale-2020-01-01.tar.gz"
    old.write_bytes(b"")
    os.utime(old, (0, 0))
    await operator.follow(next(guide))
    assert len(list(operator.backups.iterdir())) == 1
    await operator.server.create_user("lost")
    await operator.follow(next(guide))
    assert [user.name for user in await operator.server.users()] == ["kept"]
    assert list(guide) == []


async def test_an_upgrade_and_the_way_back(operator: Operator) -> None:
    """From the release before: saved, upgraded, and back at what was kept, with the newer one set aside."""
    database = operator.server.settings.database
    with closing(sqlite3.connect(database)) as raw:
        raw.executescript((RELEASES / f"{ALL[-1]}.sqlite.sql").read_text())
    guide = blocks("upgrading.md")
    await operator.server.start()
    [copy] = upgrading.copies(database)
    operator.copy = copy.name
    await operator.follow(next(guide))
    assert operator.said == "ok\n"
    await operator.server.create_user("later")
    await operator.follow(next(guide))
    assert [user.name for user in await operator.server.users()] == ["alice", "bjørn"]
    assert (database.parent / "newer" / "db.sqlite").exists()
    assert operator.installed == ["pip install --upgrade headscale", "pip install headscale==0.1.0"]
    assert list(guide) == []


async def test_what_the_security_notes_look_at(operator: Operator) -> None:
    """The modes that they promise."""
    await operator.server.start()
    for block in blocks("security.md"):
        await operator.follow(block)
    modes = [line.split() for line in operator.said.splitlines() if re.match(r"\d{3} /", line)]
    assert {mode for mode, _ in modes} == {"600"}
    assert {Path(path).name for _, path in modes} == {
        *("db.sqlite", "noise_private.key", "derp_server_private.key", "derp.key"),
    }
