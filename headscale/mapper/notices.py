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

# The Go client's own form; other programs number their releases their own way.
_RELEASE: Final = re.compile(r"1\.([0-9]{1,4})\.([0-9]{1,4})(?![0-9])")


def notices_of(node: Node) -> dict[str, DisplayMessage]:
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
    return found


def notice_fields(before: Node | None, after: Node, *, version: int) -> Mapping[str, Any]:
    """The fields of a map response that bring a client from one state of its node to the next; none when nothing
    changed. `before` is None for a client that starts from nothing."""
    old, new = notices_of(before) if before is not None else {}, notices_of(after)
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


def _number(release: re.Match[str]) -> tuple[int, int]:
    return int(release[1]), int(release[2])
