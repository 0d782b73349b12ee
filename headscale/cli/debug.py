"""headscale debug …: to try things out."""

import click

from headscale.cli.client import call
from headscale.cli.framework import Command, Group
from headscale.cli.output import show


@click.group(cls=Group)
def debug() -> None:
    """Try things out."""


@debug.command(name="create-node", cls=Command)
@click.option("--name", required=True, help="What the device calls itself.")
@click.option("-u", "--user", required=True, help="The name of a user.")
@click.option("-k", "--key", required=True, help="The login's id: hskey-authreq- and 24 hex digits.")
@click.option("-r", "--route", "--routes", "routes", multiple=True, help="Routes that it advertises.")
def create_node(name: str, user: str, key: str, routes: tuple[str, ...]) -> None:
    """Make up a login that no device asked for; `auth register` lets it in."""
    wanted = [route for listed in routes for route in listed.split(",") if route]
    body = {"name": name, "user": user, "key": key, "routes": wanted}
    node = call("POST", "/api/v1/debug/node", body=body)["node"]
    show(node, text="Node created")
