"""headscale generate …"""

import click

from headscale.cli.framework import Command, Group
from headscale.cli.output import show
from headscale.keys import generate_private_key


@click.group(cls=Group, aliases=("gen",))
def generate() -> None:
    """Make new secrets."""


@generate.command(name="private-key", cls=Command)
def private_key() -> None:
    """Print a new private key, as `noise.private_key_path` holds one."""
    key = generate_private_key().reveal()
    show({"private_key": key}, text=key)
