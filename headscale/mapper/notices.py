"""What a node's client is to show its user: why it is not in, that its key ends soon, that it is out of date.

Messages follow from the node's record and flags alone, so that a stream is told of them when the node changes.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from headscale.records import Node, TailnetSettings
from headscale.tailcfg.health import DISPLAY_MESSAGES, ClientVersion, DisplayMessage

WAITING: Final = "device-approval-needed"
ENDING: Final = "key-expires-soon"
BEHIND: Final = "update-available"

# From this capability version on (1.92) clients lose `ClientVersion` between their parts: it is published by value and
# awaited by pointer (tailscale v1.92.5 and v1.102.4, control/controlclient/direct.go, ipn/ipnlocal/local.go). They are
# told in words.
LOSES_CLIENT_VERSION: Final = 131

# The Go client's own form; other programs number their releases their own way.
_RELEASE: Final = re.compile(r"1\.([0-9]{1,4})\.([0-9]{1,4})(?![0-9])")


def notices_of(settings: TailnetSettings, node: Node, *, version: int) -> dict[str, DisplayMessage]:
    """The messages that hold for this node now, by id."""
    found: dict[str, DisplayMessage] = {}
    if not node.authorized:
        found[WAITING] = DisplayMessage(
            title="This device waits for approval",
            text="An administrator of this tailnet has to approve the device before it can reach others.",
            severity="high",
            impacts_connectivity=True,
        )
    if node.ending and not node.expired and node.expiry is not None:
        found[ENDING] = DisplayMessage(
            title="This device's key expires soon",
            text=f"It ends on {node.expiry:%Y-%m-%d at %H:%M} UTC. Log in again before that to stay connected.",
            severity="medium",
        )
    newer = client_version(settings, node) if version >= LOSES_CLIENT_VERSION else None
    if newer is not None and not newer.running_latest:
        found[BEHIND] = DisplayMessage(
            title="An update is available",
            text=f"Tailscale {newer.latest_version} is out, and this device runs {_running(node)}.",
            severity="low",
        )
    return found


def notice_fields(
    settings: TailnetSettings, before: Node | None, after: Node, *, version: int
) -> Mapping[str, Any]:
    """The fields of a map response that bring a client from one state of its node to the next; none when nothing
    changed. `before` is None for a client that starts from nothing."""
    old = notices_of(settings, before, version=version) if before is not None else {}
    new = notices_of(settings, after, version=version)
    if old == new:
        return {}
    if version < DISPLAY_MESSAGES:
        return {"health": tuple(f"{message.title}. {message.text}" for message in new.values())}
    changed = {key: message for key, message in new.items() if old.get(key) != message}
    return {"display_messages": {**dict.fromkeys(old.keys() - new.keys()), **changed}}


def client_version(settings: TailnetSettings, node: Node) -> ClientVersion | None:
    """Whether the client runs the release that the operator names as the latest; None when nobody can say."""
    latest, running = _RELEASE.match(settings.latest_client), _RELEASE.match(node.hostinfo.ipn_version)
    if latest is None or running is None:
        return None
    if _number(running) >= _number(latest):
        return ClientVersion(running_latest=True)
    return ClientVersion(latest_version=latest[0])


def _running(node: Node) -> str:
    found = _RELEASE.match(node.hostinfo.ipn_version)
    return found[0] if found else "another release"


def _number(release: re.Match[str]) -> tuple[int, int]:
    return int(release[1]), int(release[2])
