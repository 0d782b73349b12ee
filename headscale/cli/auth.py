"""headscale auth …: decide about devices that ask to log in."""

import click

from headscale.cli.client import call
from headscale.cli.framework import Command, Group
from headscale.cli.output import show


@click.group(cls=Group)
def auth() -> None:
    """Let devices in that asked without a key, or turn them away."""


@auth.command(cls=Command)
@click.option("--auth-id", required=True, help="The login's id, from the page that the client's URL shows.")
@click.option("-u", "--user", required=True, help="The name of the user whose device it becomes.")
def register(auth_id: str, user: str) -> None:
    """Let a device in."""
    node = call("POST", "/api/v1/auth/register", body={"authId": auth_id, "user": user})["node"]
    show(node, text=f"Node {node['givenName']} registered")


@auth.command(cls=Command)
@click.option("--auth-id", required=True, help="The login's id.")
def approve(auth_id: str) -> None:
    """Say yes to a login that is no new device."""
    show(call("POST", "/api/v1/auth/approve", body={"authId": auth_id}), text="Login approved")


@auth.command(cls=Command)
@click.option("--auth-id", required=True, help="The login's id.")
def reject(auth_id: str) -> None:
    """Turn a login away."""
    show(call("POST", "/api/v1/auth/reject", body={"authId": auth_id}), text="Login rejected")
