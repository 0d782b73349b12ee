"""Making a backup, with the server running or not."""

import asyncio
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from headscale import __version__
from headscale.backup.archive import FORMAT, Manifest, described, write_archive
from headscale.backup.contents import CONFIGURATION, DATABASE, NAMES, places
from headscale.config.settings import Config
from headscale.db.copying import check_sqlite, copy_sqlite
from headscale.db.transfer import save_postgres
from headscale.errors import Malformed, Unavailable


def make_backup(config: Config, target: Path, now: datetime, *, replacing: bool = False) -> Manifest:
    """Write an archive of everything to `target`.

    The database is as it was at one moment, and checked. Raises Conflict, Unavailable or Malformed.
    """
    if not target.parent.is_dir():
        raise Unavailable(f"there is no folder {target.parent} for the archive")
    try:
        # Beside the archive, where there is room for it; only its owner may look inside.
        with tempfile.TemporaryDirectory(prefix=".headscale-backup-", dir=target.parent) as name:
            folder = Path(name)
            staged = _staged(config, folder)
            try:
                checked = check_sqlite(staged[DATABASE])
            except Malformed as problem:
                where = config.postgres.shown if config.postgres is not None else config.sqlite_path
                raise Malformed(f"the database {where} cannot be backed up: {problem}") from problem
            manifest = Manifest(
                format=FORMAT,
                created_at=now,
                version=__version__,
                revision=checked.revision,
                rows=dict(checked.rows),
                files=described(staged),
            )
            write_archive(target, manifest, folder, replacing=replacing)
    except OSError as problem:
        raise Unavailable(f"the backup cannot be made: {problem.filename}: {problem.strerror}") from problem
    return manifest


def _staged(config: Config, folder: Path) -> dict[str, Path]:
    """Copies of all files that there are, so that what is hashed is what is written."""
    staged = {DATABASE: folder / NAMES[DATABASE]}
    if config.postgres is None:
        copy_sqlite(config.sqlite_path, staged[DATABASE])
    elif not asyncio.run(save_postgres(config.postgres, staged[DATABASE])):
        raise Unavailable(
            f"there is nothing in {config.postgres.shown}: has this server ever run with this configuration?"
        )
    files = {role: path for role, path in places(config).items() if role != DATABASE}
    if config.source is not None:
        files[CONFIGURATION] = config.source
    for role, path in files.items():
        if path.exists():
            staged[role] = folder / NAMES[role]
            shutil.copyfile(path, staged[role])
    if "noise_key" not in staged:
        raise Unavailable(
            f"there is no Noise key {config.noise_key_path}: without it a backup would be of little use"
        )
    return staged
