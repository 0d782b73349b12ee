"""The server after another: at the same URL, with the same Noise key, and with what its database is handed.

A data directory of its own, so that nothing comes along but what is said here.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.errors import HarnessError
from harness.servers.command import command_here
from harness.servers.local import LocalSettings
from harness.servers.postgres import Postgres

NOISE_KEY = "noise_private.key"


def heir(former: LocalSettings, *, elsewhere: Mapping[str, str] | None = None) -> LocalSettings:
    """Settings of a server that has the former one's place and key, and no records yet. `elsewhere` is as there."""
    data = Path(tempfile.mkdtemp(prefix="hs-server-"))
    shutil.copy2(former.data / NOISE_KEY, data / NOISE_KEY)
    return replace(former, data=data, elsewhere=elsewhere or {})


async def with_file(former: LocalSettings) -> LocalSettings:
    """The heir opens a copy of the former server's SQLite file. The former one must have stopped."""
    made = heir(former)
    await asyncio.to_thread(shutil.copy2, former.database, made.database)
    return made


async def in_postgres(former: LocalSettings, postgres: Postgres, name: str) -> LocalSettings:
    """The heir has the records in this new database, by `headscale database copy`."""
    target = await asyncio.to_thread(postgres.create, name)
    await _copy(former, str(former.database), target)
    return heir(former, elsewhere=postgres.variables(name))


async def out_of_postgres(former: LocalSettings, postgres: Postgres, name: str) -> LocalSettings:
    """The heir has the records of this database in a file again."""
    made = heir(former)
    await _copy(former, postgres.url(name), str(made.database))
    return made


async def _copy(former: LocalSettings, source: str, target: str) -> None:
    done = await command_here(former.variables)(["database", "copy", source, target])
    if done.code != 0:
        raise HarnessError(f"headscale database copy ended with {done.code}: {done.output}")
