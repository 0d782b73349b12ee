"""A copy of a SQLite file before it is brought up to a newer version: the way back, when the upgrade was a mistake."""

import os
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final

from headscale.clock import SystemClock
from headscale.db.copying import copy_sqlite
from headscale.db.inspection import open_to_look, revision_of, version_of
from headscale.db.migrate import known, newest
from headscale.errors import Unavailable
from headscale.files import give_to_owner_of, sync_folder

MARK: Final = ".before-upgrade-from-"
KEPT_MAX: Final = 3


def keep_before_upgrade(path: Path) -> Path | None:
    """Copy a database that this version is going to change; None for one that it is not.

    The copy lies beside it, for its owner only, and is durable when this returns; of its kind the newest few stay.
    Raises Unavailable when there is no room for it, and what sqlite3 raises for what is no database.
    """
    with closing(open_to_look(path)) as connection:
        revision, version = revision_of(connection), version_of(connection)
    if revision is None or revision == newest() or revision not in known():
        return None
    copy = _name(path, version or f"schema-{revision}", SystemClock().now())
    fresh = copy.with_name(f"{copy.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        os.close(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
        copy_sqlite(path, fresh)
        descriptor = os.open(fresh, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        fresh.replace(copy)
        sync_folder(path.parent)
    except (OSError, Unavailable) as problem:
        fresh.unlink(missing_ok=True)
        reason = getattr(problem, "strerror", None) or problem
        raise Unavailable(
            f"no copy of it can be kept before the upgrade from schema {revision} to {newest()}, and so nothing was "
            f"changed: {reason}"
        ) from problem
    give_to_owner_of(path.parent, (copy,))
    for old in copies(path)[:-KEPT_MAX]:
        old.unlink(missing_ok=True)
    return copy


def copies(path: Path) -> list[Path]:
    """What was kept before upgrades of this database, oldest first."""
    found = path.parent.glob(f"{path.name}{MARK}*")
    kept = (copy for copy in found if copy.suffix != ".new")
    return sorted(kept, key=lambda copy: (copy.name[-16:], copy.stat().st_mtime_ns))


def usable_copy(path: Path) -> Path | None:
    """The newest copy that this version of the program can use."""
    for copy in reversed(copies(path)):
        with closing(open_to_look(copy)) as connection:
            if revision_of(connection) in known():
                return copy
    return None


def _name(path: Path, whose: str, now: datetime) -> Path:
    return path.with_name(f"{path.name}{MARK}{whose}-{now:%Y%m%dT%H%M%SZ}")
