"""headscale backup, headscale restore: everything that the server needs, in one file and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from headscale.cli.framework import Command, session
from headscale.cli.output import show
from headscale.clock import SystemClock

if TYPE_CHECKING:  # other commands do not wait for the database's code
    from headscale.backup.archive import Manifest

FILE: Final = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("file", type=FILE)
def backup(file: Path) -> None:
    """Save database, keys and policy file in one archive, with the server running or not.

    Records in PostgreSQL are saved like those in a SQLite file, and can be restored into either.

    It holds the server's secrets: only its owner may read it. --force replaces a file that is there.
    """
    from headscale.backup.making import make_backup

    manifest = make_backup(session().config(), file, SystemClock().now(), replacing=session().force)
    size = f"{file.stat().st_size / 1024:.0f} KiB"
    show(
        {"file": str(file), "sizeBytes": file.stat().st_size, **_document(manifest)},
        text=f"Saved {_held(manifest)} in {file} ({size}), with {_files(manifest)}.",
    )


@click.command(cls=Command)
@click.argument("file", type=FILE)
@click.option("--check", is_flag=True, help="Only verify the archive.")
def restore(file: Path, check: bool) -> None:
    """Put a backup in place; the server must be stopped.

    The archive is verified first. Files that are there stay, unless --force replaces them; then copies are kept.
    """
    from headscale.backup.restoring import check_backup, restore_backup

    if check:
        manifest = check_backup(file)
        show(
            {"file": str(file), **_document(manifest)},
            text=f"{file} is sound: {_held(manifest)}, saved {_when(manifest)} by version {manifest.version}.",
        )
        return
    done = restore_backup(session().config(), file, SystemClock().now(), replacing=session().force)
    lines = [
        f"Restored {_held(done.manifest)} of {_when(done.manifest)}:",
        *(f"  {place}" for place in (done.database, *done.paths) if place),
    ]
    lines += [f"Not restored, because the configuration has no place for it: {name}" for name in done.skipped]
    if done.kept is not None:
        lines.append(f"What was there before is in {done.kept}.")
    show(
        {
            "file": str(file),
            **_document(done.manifest),
            "restored": [str(place) for place in (done.database, *done.paths) if place],
            "skipped": list(done.skipped),
            "kept": str(done.kept) if done.kept is not None else None,
        },
        text="\n".join([*lines, "Start the server: headscale serve"]),
    )


def _document(manifest: "Manifest") -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(manifest)
    return found


def _held(manifest: "Manifest") -> str:
    rows = manifest.rows
    return f"{rows.get('users', 0)} users and {rows.get('nodes', 0)} nodes"


def _files(manifest: "Manifest") -> str:
    return ", ".join(file.name for file in manifest.files)


def _when(manifest: "Manifest") -> str:
    return f"{manifest.created_at:%Y-%m-%d %H:%M:%S} UTC"
