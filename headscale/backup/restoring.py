"""Putting a backup in place: first all of it is verified, then what is there is copied aside, and then replaced."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from headscale.backup.archive import Manifest, unpack
from headscale.backup.contents import BESIDE, CONFIGURATION, DATABASE, NAMES, places
from headscale.config.settings import Config
from headscale.db.copying import check_sqlite
from headscale.db.database import take_lock
from headscale.db.transfer import put_in_postgres
from headscale.errors import Conflict, Malformed, Unavailable
from headscale.files import give_to_owner_of, sync_folder

KEPT: Final = "before-restore-"


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done. `kept` is the folder with what was there before; `skipped` are files that have no place here;
    `database` is where the records went when that is no file."""

    manifest: Manifest
    paths: tuple[Path, ...]
    skipped: tuple[str, ...] = ()
    kept: Path | None = None
    database: str = ""


def check_backup(archive: Path) -> Manifest:
    """Verify an archive and put nothing in place. Raises Malformed or Unavailable."""
    with tempfile.TemporaryDirectory(prefix="headscale-restore-") as name:
        return _verified(archive, Path(name))


def restore_backup(config: Config, archive: Path, now: datetime, *, replacing: bool = False) -> Restored:
    """Put everything in the archive where this configuration has it.

    Raises Conflict when something is there and `replacing` is not set, Unavailable when the server runs, and
    Malformed for an archive that is damaged; then nothing was changed.
    """
    data = config.sqlite_path.parent if config.postgres is None else config.data_dir
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as stack:
            if config.postgres is None:
                stack.callback(os.close, take_lock(config.sqlite_path))
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix=".headscale-restore-", dir=data))
            return _put(config, _verified(archive, Path(name)), Path(name), now, replacing=replacing)
    except OSError as problem:
        raise Unavailable(
            f"the backup cannot be restored: {problem.filename}: {problem.strerror}"
        ) from problem


def _verified(archive: Path, folder: Path) -> Manifest:
    manifest = unpack(archive, folder)
    database = manifest.file(DATABASE)
    if database is None:
        raise Malformed(f"{archive} holds no database")
    try:
        checked = check_sqlite(folder / database.name)
    except Malformed as problem:
        raise Malformed(f"{archive}: {database.name}: {problem}") from problem
    if (checked.revision, dict(checked.rows)) != (manifest.revision, manifest.rows):
        raise Malformed(f"{archive}: {database.name} is not the database that the manifest describes")
    return manifest


def _put(config: Config, manifest: Manifest, folder: Path, now: datetime, *, replacing: bool) -> Restored:
    targets = places(config)
    wanted = {file.role: file for file in manifest.files if file.role in targets}
    elsewhere = {CONFIGURATION, *(() if config.postgres is None else (DATABASE,))}
    skipped = tuple(
        file.name for file in manifest.files if file.role not in targets and file.role not in elsewhere
    )
    database = targets.get(DATABASE)
    beside = (
        {NAMES[DATABASE] + suffix: database.with_name(database.name + suffix) for suffix in BESIDE}
        if database is not None
        else {}
    )
    affected = {NAMES[role]: targets[role] for role in wanted} | beside
    there = {name: path for name, path in affected.items() if path.exists()}
    if there and not replacing:
        raise Conflict(
            f"{next(iter(there.values()))} exists: restore into an empty data directory, or add --force; copies of "
            f"what is there are then kept in {config.data_dir}/{KEPT}…"
        )
    kept: Path | None = None

    def keep(records: Path | None) -> None:
        nonlocal kept
        files = there if records is None else {NAMES[DATABASE]: records, **there}
        kept = _keep(config.data_dir, files, now) if files else None

    if config.postgres is None:
        keep(None)
    else:
        saved = folder / NAMES[DATABASE]
        asyncio.run(put_in_postgres(config.postgres, saved, replacing=replacing, keep=keep))
    # A journal of the old database must never meet the new one. If we are interrupted here, the old one stands still.
    for path in beside.values():
        path.unlink(missing_ok=True)
    roles = sorted(wanted, key=lambda role: role != DATABASE)
    for role in roles:
        _replace(targets[role], folder / wanted[role].name)
    paths = tuple(targets[role] for role in roles)
    locks = () if database is None else (database.with_name(database.name + ".lock"),)
    give_to_owner_of(config.data_dir, (*paths, *locks))
    return Restored(
        manifest, paths, skipped, kept, config.postgres.shown if config.postgres is not None else ""
    )


def _replace(target: Path, source: Path) -> None:
    """The file is the old one or the whole new one, also after a power cut; its folder may be on another disk."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = target.with_name(f"{target.name}.new")
    fresh.unlink(missing_ok=True)
    with source.open("rb") as content:
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as file:
            shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(target)
    sync_folder(target.parent)


def _keep(data: Path, files: Mapping[str, Path], now: datetime) -> Path:
    """Copies of these files in a folder of their own, durable before anything is replaced."""
    kept = data / f"{KEPT}{now:%Y%m%dT%H%M%SZ}"
    number = 1
    while kept.exists():
        number += 1
        kept = data / f"{KEPT}{now:%Y%m%dT%H%M%SZ}-{number}"
    kept.mkdir(mode=0o700)
    for name, path in files.items():
        copy = kept / name
        shutil.copy2(path, copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(kept)
    give_to_owner_of(data, (kept, *kept.iterdir()))
    return kept
