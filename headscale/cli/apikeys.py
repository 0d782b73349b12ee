"""headscale apikeys …"""

from datetime import UTC, datetime
from typing import Any

import click

from headscale.cli.client import call, segment
from headscale.cli.framework import Command, Failed, Group
from headscale.cli.output import lifetime, moment, show, show_table
from headscale.cli.users import id_of_user

_ID = click.option("-i", "--id", "key_id", default="", help="The key's ID.")
_PREFIX = click.option("-p", "--prefix", default="", help="The key's prefix, as the list shows it.")


@click.group(cls=Group, aliases=("apikey", "api"))
def apikeys() -> None:
    """Manage the keys with which programs, and this command on other machines, may use the API."""


@apikeys.command(cls=Command, aliases=("c", "new"))
@click.option("-e", "--expiration", default="90d", show_default=True, help="Its lifetime, like 24h or 90d.")
@click.option("-u", "--user", default="", help="Whose it is (name, e-mail or ID): it may do what they may.")
def create(expiration: str, user: str) -> None:
    """Create a key and print it: it cannot be shown again. One that is nobody's may do everything."""
    body = {"expiration": (datetime.now(UTC) + lifetime(expiration)).isoformat()}
    if user:
        body["user"] = id_of_user(user)
    key = call("POST", "/api/v1/apikey", body=body)["apiKey"]
    show(key, text=key)


@apikeys.command(name="list", cls=Command, aliases=("ls", "show"))
def list_keys() -> None:
    """List keys; their secrets are not kept."""
    keys = _all()
    rows = [
        (
            key["id"],
            key["prefix"],
            moment(key["expiration"]),
            moment(key["createdAt"]),
            moment(key["lastSeen"]),
            _whose(key),
        )
        for key in keys
    ]
    show_table(keys, ("ID", "Prefix", "Expiration", "Created", "Last seen", "User"), rows)


@apikeys.command(cls=Command, aliases=("revoke", "exp", "e"))
@_ID
@_PREFIX
def expire(key_id: str, prefix: str) -> None:
    """End a key now."""
    _one_of(key_id, prefix)
    call("POST", "/api/v1/apikey/expire", body={"id": key_id} if key_id else {"prefix": prefix})
    show({}, text="Key expired")


@apikeys.command(cls=Command, aliases=("remove", "del"))
@_ID
@_PREFIX
def delete(key_id: str, prefix: str) -> None:
    """Delete a key."""
    _one_of(key_id, prefix)
    call("DELETE", f"/api/v1/apikey/{segment(prefix or _prefix_of(key_id))}")
    show({}, text="Key deleted")


def _whose(key: dict[str, Any]) -> str:
    return str(key["user"]["name"]) if "user" in key else ""


def _all() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call("GET", "/api/v1/apikey")["apiKeys"]
    return found


def _prefix_of(key_id: str) -> str:
    """The API deletes by prefix only."""
    for key in _all():
        if key["id"] == key_id:
            return str(key["prefix"])
    raise Failed(f"no API key has the id {key_id}")


def _one_of(key_id: str, prefix: str) -> None:
    if bool(key_id) == bool(prefix):
        raise click.UsageError("say which key: --id ID or --prefix PREFIX")
