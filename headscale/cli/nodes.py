"""headscale nodes …"""

from datetime import UTC, datetime
from typing import Any

import click

from headscale.cli.client import call, segment
from headscale.cli.framework import Command, Group
from headscale.cli.output import confirm, moment, show, show_table


@click.group(cls=Group, aliases=("node",))
def nodes() -> None:
    """Manage the nodes of the tailnet."""


@nodes.command(name="list", cls=Command, aliases=("ls", "show"))
@click.option("-u", "--user", help="Only the nodes of the user of this name.")
def list_nodes(user: str | None) -> None:
    """List nodes."""
    found = call("GET", "/api/v1/node", query={"user": user} if user else {})["nodes"]
    columns = (
        "ID",
        "Hostname",
        "Name",
        "NodeKey",
        "User",
        "Tags",
        "IP addresses",
        "Ephemeral",
        "Last seen",
        "Expiration",
        "Connected",
        "Expired",
    )
    show_table(found, columns, [_row(node) for node in found])


@nodes.command(cls=Command, aliases=("logout", "exp", "e"))
@click.option("-i", "--identifier", required=True, help="The node's ID.")
@click.option("-e", "--expiry", help="When, as RFC 3339; now if nothing is said.")
@click.option("-d", "--disable", is_flag=True, help="Its key never ends.")
def expire(identifier: str, expiry: str | None, disable: bool) -> None:
    """End a node's key: its user has to log in again."""
    if expiry and disable:
        raise click.UsageError("give --expiry or --disable, not both")
    body: dict[str, Any] = {"disableExpiry": True} if disable else {}
    if expiry:
        body["expiry"] = expiry
    node = call("POST", f"/api/v1/node/{segment(identifier)}/expire", body=body)["node"]
    show(node, text="Node expiration disabled" if disable else f"Node expires {moment(node['expiry'])}")


@nodes.command(cls=Command)
@click.argument("new_name")
@click.option("-i", "--identifier", required=True, help="The node's ID.")
def rename(new_name: str, identifier: str) -> None:
    """Give a node another name in the tailnet."""
    path = f"/api/v1/node/{segment(identifier)}/rename/{segment(new_name)}"
    node = call("POST", path)["node"]
    show(node, text=f"Node renamed: {node['givenName']}")


@nodes.command(cls=Command, aliases=("del",))
@click.option("-i", "--identifier", required=True, help="The node's ID.")
def delete(identifier: str) -> None:
    """Delete a node: it loses its addresses and its name."""
    path = f"/api/v1/node/{segment(identifier)}"
    node = call("GET", path)["node"]
    if confirm(f"Delete node {node['givenName']} (ID {node['id']})?"):
        call("DELETE", path)
        show({}, text="Node deleted")
    else:
        show({}, text="Node not deleted")


def _row(node: dict[str, Any]) -> tuple[str, ...]:
    expiry = datetime.fromisoformat(node["expiry"]) if node["expiry"] else None
    key = node["preAuthKey"] or {}
    return (
        node["id"],
        node["name"],
        node["givenName"],
        node["nodeKey"][:18],
        (node["user"] or {}).get("name", "-"),
        ", ".join(node["tags"]),
        ", ".join(node["ipAddresses"]),
        "true" if key.get("ephemeral") else "false",
        moment(node["lastSeen"]),
        moment(node["expiry"]),
        "online" if node["online"] else "offline",
        "yes" if expiry and expiry <= datetime.now(UTC) else "no",
    )
