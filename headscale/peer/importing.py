"""An import from beginning to end: what the peer has, what is here, what comes of it; when asked, one transaction."""

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headscale.config.settings import Config
from headscale.db.copying import copy_sqlite
from headscale.db.database import Database, open_sqlite, take_lock
from headscale.db.transfer import opened, save_postgres
from headscale.errors import Malformed
from headscale.files import give_to_owner_of
from headscale.peer.advice import advice
from headscale.peer.credentials import settle_key_tags
from headscale.peer.merge import Ours, drop_policy, merge
from headscale.peer.report import Ledger, Report, report_of
from headscale.peer.routes import settle_routes
from headscale.peer.rows import PeerDatabase
from headscale.peer.settings import PeerSettings
from headscale.peer.takeover import take_over
from headscale.records import Counter, TailnetSettings, Write
from headscale.state.effect import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the operator asked for. `policy_file` is the text of the peer's policy where it is kept in a file."""

    apply: bool
    with_policy: bool = True
    policy_file: str | None = None
    peer: PeerSettings | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be written, and the report; nothing may be when there are clashes."""

    writes: tuple[Write, ...]
    report: Report


def plan_import(
    database: PeerDatabase,
    ours: Ours,
    moment: Moment,
    settings: TailnetSettings,
    *,
    with_policy: bool = True,
    policy_file: str | None = None,
    further: Callable[[bool], tuple[str, ...]] = lambda has_policy: (),
) -> Plan:
    """Decide everything; changes nothing. `further` says what to do besides, given whether a policy was found."""
    ledger = Ledger()
    found = take_over(database, ledger, moment.now, policy_file=policy_file)
    if not with_policy:
        found = drop_policy(found, ledger)
    merged = merge(found, ours, ledger, moment, settings)
    settle_routes(database, merged.node_rows, ledger)
    settle_key_tags(database, merged.key_rows, ledger)
    report = report_of(database, ledger, further(found.policy is not None))
    return Plan(() if report.clashes else merged.writes(ours.last_ids), report)


async def import_peer(
    database: PeerDatabase, config: Config, now: datetime, wish: Wish, *, told: Callable[[str], None]
) -> Report:
    """Take the database over into ours; without `wish.apply` only say what would come of it.

    Raises Unavailable when our server runs, Malformed when the two databases are one and the same file.
    """
    await asyncio.to_thread(_check_place, database, config)
    async with _opened(config, for_writing=wish.apply) as target:
        ours = await ours_in(target, now)
        told("working out what comes in")
        plan = await asyncio.to_thread(
            plan_import,
            database,
            ours,
            Moment(now, secrets.randbelow),
            config.tailnet,
            with_policy=wish.with_policy,
            policy_file=wish.policy_file,
            further=lambda has_policy: advice(config, wish.peer, has_policy=has_policy),
        )
        if wish.apply and plan.writes and target is not None:
            told(f"writing {plan.report.imported} rows")
            await target.commit(plan.writes)
    return plan.report


def _check_place(database: PeerDatabase, config: Config) -> None:
    theirs = Path(database.where)
    if theirs.exists() and config.sqlite_path.exists() and theirs.samefile(config.sqlite_path):
        raise Malformed(
            f"{theirs} is where this server keeps its own database (database.sqlite.path): move it elsewhere first, "
            "and import it from there"
        )


@asynccontextmanager
async def _opened(config: Config, *, for_writing: bool) -> AsyncIterator[Database | None]:
    """Our database, kept from others meanwhile. To look only it is a copy, and None where there is none yet."""
    path = config.sqlite_path
    if config.postgres is not None and for_writing:
        async with opened(config.postgres) as database:
            yield database
    elif config.postgres is not None:
        with tempfile.TemporaryDirectory(prefix="headscale-import-") as folder:
            copy = Path(folder) / "db.sqlite"
            if not await save_postgres(config.postgres, copy):
                yield None
                return
            async with opened(copy) as database:
                yield database
    elif for_writing:
        database = await open_sqlite(path)
        try:
            give_to_owner_of(path.parent, (path, path.with_name(path.name + ".lock")))
            yield database
        finally:
            await database.close()
    elif not path.exists():
        yield None
    else:
        lock = take_lock(path)
        try:
            with tempfile.TemporaryDirectory(prefix="headscale-import-") as folder:
                copy = Path(folder) / "db.sqlite"
                await asyncio.to_thread(copy_sqlite, path, copy)
                database = await open_sqlite(copy)
                try:
                    yield database
                finally:
                    await database.close()
        finally:
            os.close(lock)


async def ours_in(database: Database | None, now: datetime) -> Ours:
    """What is in our database; nothing where there is none yet."""
    if database is None:
        return Ours(last_ids=dict.fromkeys(Counter, 0))
    loaded = await database.load(now)
    return Ours(
        users=loaded.users,
        pre_auth_keys=loaded.pre_auth_keys,
        api_keys=loaded.api_keys,
        nodes=loaded.nodes,
        policies=await database.policies(),
        last_ids=loaded.last_ids,
    )
