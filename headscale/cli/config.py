"""headscale config …: the configuration file itself."""

import os
import shutil
from pathlib import Path

import click

from headscale.cli.framework import Command, Failed, Group, session
from headscale.cli.output import show
from headscale.config.file import BadConfig, config_text, find_config, read_config
from headscale.config.migrate import migrate
from headscale.errors import Malformed
from headscale.files import replace_file


@click.group(cls=Group)
def config() -> None:
    """Work on the configuration file."""


@config.command(name="migrate", cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "-w", "--write", is_flag=True, help="Change the file; the old one stays beside it as FILE.before."
)
def migrate_file(file: Path | None, write: bool) -> None:
    """Rewrite a configuration of an older headscale with today's keys; comments stay.

    Without --write the result is printed and nothing is changed.
    """
    path = (file or session().config_path or _usual()).resolve()
    text = config_text(path)
    try:
        written, steps = migrate(text)
    except Malformed as problem:
        raise Failed(f"{path}: {problem}") from None
    left = _complaints(path, written)
    if write and steps:
        _replace(path, written)
    document = {
        "file": str(path),
        "changes": [{"key": step.key, "what": step.what} for step in steps],
        "complaints": left,
        "text": written,
    }
    if session().output is None:
        for line in (*map(str, steps), *(f"still to do: {complaint}" for complaint in left)):
            click.echo(line, err=True)
    if not steps:
        show(document, text=f"{path}: nothing to change")
    elif write:
        show(document, text=f"{path}: rewritten; as it was it is kept in {_before(path)}")
    else:
        show(document, text=written.rstrip("\n"))


def _usual() -> Path:
    found = find_config(None, os.environ)
    if found is None:
        raise Failed("there is no configuration in the usual places: name the file")
    return found


def _complaints(path: Path, text: str) -> list[str]:
    """What keeps the new text from being used where it is, or will be."""
    try:
        read_config(path, text, {})
    except BadConfig as problem:
        return [str(complaint) for complaint in problem.complaints]
    return []


def _before(path: Path) -> Path:
    return path.with_name(f"{path.name}.before")


def _replace(path: Path, text: str) -> None:
    """The old file goes beside the new one, which has its owner and mode."""
    try:
        there = path.stat()
        if _before(path).exists():
            raise Failed(f"{_before(path)} is there already: move it away first")
        shutil.copy2(path, _before(path))
        replace_file(path, text.encode(), mode=there.st_mode & 0o7777)
        if os.geteuid() == 0:
            os.chown(path, there.st_uid, there.st_gid)
    except OSError as problem:
        raise Failed(f"{path} cannot be rewritten: {problem.strerror}") from None
