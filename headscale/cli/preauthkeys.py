"""headscale preauthkeys …"""

from datetime import UTC, datetime

import click

from headscale.cli.client import call
from headscale.cli.framework import Command, Group
from headscale.cli.output import lifetime, moment, show, show_table


@click.group(cls=Group, aliases=("preauthkey", "authkey", "pre"))
def preauthkeys() -> None:
    """Manage the keys with which machines join."""


@preauthkeys.command(cls=Command, aliases=("c", "new"))
@click.option("-u", "--user", default="", help="The ID of the user whose nodes may join.")
@click.option("--reusable", is_flag=True, help="For any number of machines, not only one.")
@click.option("--ephemeral", is_flag=True, help="Its nodes are deleted when they stay away.")
@click.option(
    "-e", "--expiration", default="1h", show_default=True, help="Its lifetime, like 30m, 24h or 30d."
)
@click.option("--tags", multiple=True, help="Tags for its nodes, which are then nobody's.")
@click.option(
    "--preauthorized", is_flag=True, help="Its nodes need no approval where the tailnet asks for it."
)
def create(
    user: str, reusable: bool, ephemeral: bool, expiration: str, tags: tuple[str, ...], preauthorized: bool
) -> None:
    """Create a key and print it: it cannot be shown again."""
    body = {
        "user": user,
        "reusable": reusable,
        "ephemeral": ephemeral,
        "preauthorized": preauthorized,
        "expiration": (datetime.now(UTC) + lifetime(expiration)).isoformat(),
        "aclTags": [tag for listed in tags for tag in listed.split(",") if tag],
    }
    key = call("POST", "/api/v1/preauthkey", body=body)["preAuthKey"]
    show(key, text=key["key"])


@preauthkeys.command(name="list", cls=Command, aliases=("ls", "show"))
def list_keys() -> None:
    """List keys; their secrets are not kept."""
    keys = call("GET", "/api/v1/preauthkey")["preAuthKeys"]
    columns = ("ID", "Key/Prefix", "Reusable", "Ephemeral", "Used", "Expiration", "Created", "Owner")
    rows = [
        (
            key["id"],
            key["key"],
            _flag(key["reusable"]),
            _flag(key["ephemeral"]),
            _flag(key["used"]),
            moment(key["expiration"]),
            moment(key["createdAt"]),
            "\n".join(key["aclTags"]) or (key["user"] or {}).get("name", "-"),
        )
        for key in keys
    ]
    show_table(keys, columns, rows)


@preauthkeys.command(cls=Command, aliases=("revoke", "exp", "e"))
@click.option("-i", "--id", "key_id", required=True, help="The key's ID.")
def expire(key_id: str) -> None:
    """End a key now; nodes that joined with it stay."""
    call("POST", "/api/v1/preauthkey/expire", body={"id": key_id})
    show({}, text="Key expired")


@preauthkeys.command(cls=Command, aliases=("del", "rm", "d"))
@click.option("-i", "--id", "key_id", required=True, help="The key's ID.")
def delete(key_id: str) -> None:
    """Delete a key; nodes that joined with it stay."""
    call("DELETE", "/api/v1/preauthkey", query={"id": key_id})
    show({}, text="Key deleted")


def _flag(value: bool) -> str:
    return "true" if value else "false"
