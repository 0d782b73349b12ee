"""The `headscale` command has all its commands at hand and imports those that are used."""

import subprocess
import sys

import click
import pytest

from headscale.cli.main import COMMANDS, root

HEAVY = ("aiohttp", "asyncio", "alembic", "h2", "prometheus_client", "rich", "ruamel.yaml", "sqlalchemy")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_found_by_its_name_and_all_its_aliases(name: str) -> None:
    """The table knows those that the command has."""
    at = click.Context(root)
    command = root.get_command(at, name)
    assert command is not None
    assert command.name == name
    assert COMMANDS[name].aliases == getattr(command, "aliases", ())
    for alias in COMMANDS[name].aliases:
        assert root.get_command(at, alias) is command


def test_all_commands_are_listed() -> None:
    listed = root.list_commands(click.Context(root))
    assert listed == sorted({*COMMANDS, "configtest", "help", "serve", "version"})
    text = root.get_help(click.Context(root))
    assert "import" in text
    assert "dumpConfig" not in text  # hidden


@pytest.mark.parametrize(
    "words", [["users", "list"], ["node", "ls"], ["preauthkeys", "list", "-o", "json"], ["health"]]
)
def test_a_command_for_administrators_begins_at_once(words: list[str]) -> None:
    """It reads the configuration of the environment and looks for the server without what only a server needs."""
    program = f"""
import os, sys
os.environ.update(HEADSCALE_UNIX_SOCKET="/nowhere/socket", HEADSCALE_CLI_TIMEOUT="1ms", HEADSCALE_DATA_DIR="/nowhere")
from headscale.cli.main import main
sys.argv = ["headscale", *{words!r}]
try:
    main()
finally:
    print(*(name for name in {HEAVY!r} if name in sys.modules))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd="/", check=False
    )
    assert ran.returncode == 1
    assert "no server answers at /nowhere/socket" in ran.stderr
    assert ran.stdout.strip() == ""
