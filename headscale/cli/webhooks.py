"""headscale webhooks …: where events are sent."""

import click

from headscale.cli.client import call, segment
from headscale.cli.framework import Command, Group
from headscale.cli.output import confirm, moment, show, show_table

_ID = click.option("-i", "--id", "webhook_id", required=True, help="The webhook's ID.")
_ALL = "/api/v2/tailnet/-/webhooks"


@click.group(cls=Group, aliases=("webhook",))
def webhooks() -> None:
    """Manage the addresses that are told what happens in the tailnet."""


@webhooks.command(cls=Command, aliases=("c", "new"))
@click.argument("url")
@click.option(
    "-s",
    "--subscribe",
    "subscriptions",
    multiple=True,
    default=("categoryTailnetManagement",),
    show_default=True,
    help="An event's name, such as nodeCreated; may be given again.",
)
@click.option("--provider", default="", help="slack, mattermost, googlechat or discord: send chat messages.")
def create(url: str, subscriptions: tuple[str, ...], provider: str) -> None:
    """Have events sent to a URL, and print the secret that signs them: it cannot be shown again."""
    asked = {"endpointUrl": url, "subscriptions": subscriptions, "providerType": provider}
    made = call("POST", _ALL, body=asked)
    show(made, text=made["secret"])


@webhooks.command(name="list", cls=Command, aliases=("ls", "show"))
def list_webhooks() -> None:
    """List webhooks; their secrets are not shown."""
    found = call("GET", _ALL)["webhooks"]
    rows = [
        (
            hook["endpointId"],
            hook["endpointUrl"],
            hook["providerType"] or "-",
            ", ".join(hook["subscriptions"]),
            hook["creatorLoginName"],
            moment(hook["created"]),
        )
        for hook in found
    ]
    show_table(found, ("ID", "URL", "Provider", "Events", "Made by", "Created"), rows)


@webhooks.command(cls=Command)
@_ID
def test(webhook_id: str) -> None:
    """Have a test event sent."""
    call("POST", f"/api/v2/webhooks/{segment(webhook_id)}/test")
    show({}, text="A test event is on its way; the server's log says when it does not arrive")


@webhooks.command(cls=Command)
@_ID
def rotate(webhook_id: str) -> None:
    """Make another secret and print it: the one before signs nothing more."""
    made = call("POST", f"/api/v2/webhooks/{segment(webhook_id)}/rotate")
    show(made, text=made["secret"])


@webhooks.command(cls=Command, aliases=("del", "remove"))
@_ID
def delete(webhook_id: str) -> None:
    """Send nothing there any more."""
    if not confirm(f"Delete webhook {webhook_id}?"):
        show({}, text="Nothing was deleted")
        return
    call("DELETE", f"/api/v2/webhooks/{segment(webhook_id)}")
    show({}, text="Webhook deleted")
