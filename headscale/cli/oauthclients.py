"""headscale oauth-clients …"""

import click

from headscale.cli.client import call, segment
from headscale.cli.framework import Command, Failed, Group
from headscale.cli.output import moment, show, show_table

_KEYS = "/api/v2/tailnet/-/keys"


@click.group(
    name="oauth-clients", cls=Group, aliases=("oauth-client", "oauthclients", "oauthclient", "oauth")
)
def oauth_clients() -> None:
    """Manage programs that get themselves access tokens of limited scope for the API."""


@oauth_clients.command(cls=Command, aliases=("c", "new"))
@click.option(
    "-s", "--scope", "scopes", multiple=True, required=True, help="What it may do, like auth_keys or all."
)
@click.option("-t", "--tag", "tags", multiple=True, help="Tags that it may give, like tag:ci.")
@click.option("-d", "--description", default="", help="What it is for.")
def create(scopes: tuple[str, ...], tags: tuple[str, ...], description: str) -> None:
    """Create a client and print its secret: it cannot be shown again."""
    body = {
        "keyType": "client",
        "scopes": _listed(scopes),
        "tags": _listed(tags),
        "description": description,
    }
    client = call("POST", _KEYS, body=body)
    show(client, text=client["key"])


@oauth_clients.command(name="list", cls=Command, aliases=("ls", "show"))
def list_clients() -> None:
    """List clients; their secrets are not kept."""
    clients = [key for key in call("GET", _KEYS)["keys"] if key["keyType"] == "client"]
    rows = [
        (
            client["id"],
            client.get("description", ""),
            "\n".join(client["scopes"]),
            "\n".join(client.get("tags", [])),
            moment(client["created"]),
        )
        for client in clients
    ]
    show_table(clients, ("ID", "Description", "Scopes", "Tags", "Created"), rows)


@oauth_clients.command(cls=Command, aliases=("remove", "del"))
@click.option("-i", "--id", "client_id", required=True, help="The client's ID.")
def delete(client_id: str) -> None:
    """Delete a client; its access tokens stop working at once."""
    if client_id.isdecimal():
        raise Failed(f"{client_id} is the ID of a pre-auth key: use headscale preauthkeys delete")
    call("DELETE", f"{_KEYS}/{segment(client_id)}")
    show({}, text="OAuth client deleted")


def _listed(values: tuple[str, ...]) -> list[str]:
    """Given one by one, or with commas."""
    return [value for listed in values for value in listed.split(",") if value]
