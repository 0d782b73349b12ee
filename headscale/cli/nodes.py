"""headscale nodes …"""

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from headscale.cli.client import Patience, call, segment
from headscale.cli.framework import Command, Failed, Group
from headscale.cli.nodewhy import why
from headscale.cli.output import confirm, moment, show, show_table

# Longer than the server waits for the client.
PING = Patience(answer=timedelta(seconds=15))


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
        "MachineKey",
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


@nodes.command(name="list-routes", cls=Command, aliases=("lsr", "routes"))
@click.option("-i", "--identifier", default="", help="Only those of the node with this ID.")
def list_routes(identifier: str) -> None:
    """List nodes that advertise routes, or have some approved: which, and what of it goes through them."""
    found = call("GET", "/api/v1/node")["nodes"]
    if identifier:
        found = [node for node in found if node["id"] == identifier]
        if not found:
            raise Failed(f"no node has the id {identifier}")
    found = [node for node in found if node["availableRoutes"] or node["approvedRoutes"]]
    columns = ("ID", "Hostname", "Approved", "Available", "Serving (Primary)")
    rows = [
        (
            node["id"],
            node["givenName"],
            *(", ".join(node[kind]) for kind in ("approvedRoutes", "availableRoutes", "subnetRoutes")),
        )
        for node in found
    ]
    show_table(found, columns, rows)


@nodes.command(name="approve-routes", cls=Command)
@click.option("-i", "--identifier", required=True, help="The node's ID.")
@click.option(
    "-r", "--routes", multiple=True, required=True, help='All that are to be approved; "" for none.'
)
def approve_routes(identifier: str, routes: tuple[str, ...]) -> None:
    """Approve routes of a node, and take back all others."""
    wanted = [route.strip() for listed in routes for route in listed.split(",") if route.strip()]
    path = f"/api/v1/node/{segment(identifier)}/approve_routes"
    node = call("POST", path, body={"routes": wanted})["node"]
    show(node, text=f"Approved for {node['givenName']}: {', '.join(node['approvedRoutes']) or 'nothing'}")


@nodes.command(cls=Command)
def backfillips() -> None:
    """Give every node an address of each family that is configured, and take those of others away."""
    if not confirm("Change the addresses of nodes as the configured prefixes say?"):
        show({}, text="Nothing changed")
        return
    found = call("POST", "/api/v1/node/backfillips", query={"confirmed": "true"})
    show(found, text="\n".join(found["changes"]) or "Nothing to change")


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


@nodes.command(cls=Command, aliases=("tags", "t"))
@click.option("-i", "--identifier", required=True, help="The node's ID.")
@click.option("-t", "--tags", multiple=True, required=True, help="All tags that it is to have.")
def tag(identifier: str, tags: tuple[str, ...]) -> None:
    """Make a node its tags': nobody owns it from then on."""
    wanted = [tag for listed in tags for tag in listed.split(",") if tag]
    node = call("POST", f"/api/v1/node/{segment(identifier)}/tags", body={"tags": wanted})["node"]
    show(node, text=f"Node {node['givenName']} has {', '.join(node['tags'])}")


@nodes.command(cls=Command, aliases=("authorize",))
@click.option("-i", "--identifier", required=True, help="The node's ID.")
@click.option("--revoke", is_flag=True, help="Make it wait again: it sees nobody, and nobody sees it.")
def approve(identifier: str, revoke: bool) -> None:
    """Let a node in that waits for approval."""
    path = f"/api/v1/node/{segment(identifier)}/authorize"
    node = call("POST", path, body={"authorized": not revoke})["node"]
    show(node, text=f"Node {node['givenName']} {'is in' if node['authorized'] else 'waits for approval'}")


@nodes.command(cls=Command)
@click.option("-i", "--identifier", required=True, help="The node's ID.")
def ping(identifier: str) -> int:
    """Ask a node's client whether it answers; the exit code is 1 when it does not."""
    pong = call("POST", f"/api/v1/node/{segment(identifier)}/ping", patience=PING)
    took = f"{pong['seconds'] * 1000:.0f} ms"
    show(pong, text=f"answered after {took}" if pong["answered"] else f"no answer: {pong['reason']}")
    return 0 if pong["answered"] else 1


@nodes.command(name="why-offline", cls=Command, trouble=2)
@click.argument("node_id", metavar="ID", required=False)
@click.option("-i", "--identifier", help="The node's ID.")
def why_offline(node_id: str | None, identifier: str | None) -> int:
    """Say why a node is not online, and what to do next.

    The exit code is 0 when it is online, 1 when it is not, 2 when there is no answer.
    """
    wanted = node_id or identifier
    if not wanted or (node_id and identifier):
        raise click.UsageError("say which node: headscale nodes why-offline ID")
    found = call("GET", f"/api/v1/node/{segment(wanted)}/why-offline")
    show(found, text=why(found))
    return 0 if found["online"] else 1


@nodes.command(cls=Command)
@click.option("-u", "--user", required=True, help="The name of the user whose node it becomes.")
@click.option("-k", "--key", required=True, help="The login's id.")
def register(user: str, key: str) -> None:
    """Let a device in; `auth register` is its new name."""
    click.echo("`nodes register` is deprecated: use `auth register --auth-id ID --user USER`", err=True)
    node = call("POST", "/api/v1/auth/register", body={"authId": key, "user": user})["node"]
    show(node, text=f"Node {node['givenName']} registered")


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
        node["machineKey"][:15],
        node["nodeKey"][:18],
        (node["user"] or {}).get("name", "-"),
        ", ".join(node["tags"]),
        ", ".join(node["ipAddresses"]),
        "true" if key.get("ephemeral") else "false",
        moment(node["lastSeen"]),
        moment(node["expiry"]),
        _connected(node),
        "yes" if expiry and expiry <= datetime.now(UTC) else "no",
    )


def _connected(node: dict[str, Any]) -> str:
    if not node["authorized"]:
        return "waits for approval"
    return "online" if node["online"] else "offline"
