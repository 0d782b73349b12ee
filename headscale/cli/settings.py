"""headscale settings …: what administrators decide while the server runs."""

from typing import Any

import click

from headscale.cli.client import call
from headscale.cli.framework import Command, Group
from headscale.cli.output import show

ON_OFF = click.Choice(("on", "off"))


@click.group(cls=Group, aliases=("setting",))
def settings() -> None:
    """Show and change what holds for the whole tailnet."""


@settings.command(name="show", cls=Command, aliases=("list", "ls", "get"))
def show_settings() -> None:
    """Show them."""
    _print(call("GET", "/api/v1/settings"))


@settings.command(name="set", cls=Command)
@click.option(
    "--device-approval",
    type=ON_OFF,
    required=True,
    help="Whether new devices wait for an administrator (nodes approve); off lets in those that wait.",
)
def set_settings(device_approval: str) -> None:
    """Change them."""
    _print(call("PATCH", "/api/v1/settings", body={"deviceApproval": device_approval == "on"}))


def _print(found: dict[str, Any]) -> None:
    show(found, text=f"device approval: {'on' if found['deviceApproval'] else 'off'}")
