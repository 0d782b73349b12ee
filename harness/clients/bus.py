"""What a client's notifications (watch-ipn-bus) say, in a few words for a history.

Source: tailscale 1.80.3 and 1.102.4, ipn/backend.go (Notify). Login addresses are left out: who has one logs in.
"""

from collections.abc import Mapping
from typing import Any, Final

STATES: Final = (
    "NoState",
    "InUseOtherUser",
    "NeedsLogin",
    "NeedsMachineAuth",
    "Stopped",
    "Starting",
    "Running",
)


def told(notification: Mapping[str, Any]) -> dict[str, Any]:
    """Its news; nothing for what only counts bytes or repeats preferences."""
    words: dict[str, Any] = {}
    state = notification.get("State")
    if state is not None:
        words["state"] = STATES[state] if 0 <= state < len(STATES) else state
    if notification.get("ErrMessage"):
        words["error"] = notification["ErrMessage"]
    if notification.get("BrowseToURL"):
        words["login"] = "a page to log in at is shown"
    if notification.get("LoginFinished") is not None:
        words["login"] = "finished"
    if (netmap := notification.get("NetMap")) is not None:
        words["netmap"] = f"{len(netmap.get('Peers') or ())} peers"
    if notification.get("SelfChange"):
        words["self"] = "changed"
    for field, name in (
        ("PeersChanged", "changed"),
        ("PeersRemoved", "removed"),
        ("PeerChangedPatch", "patched"),
    ):
        if notification.get(field):
            words[f"peers {name}"] = len(notification[field])
    if (health := notification.get("Health")) is not None:
        warnings = health.get("Warnings") or {}
        words["health"] = sorted(each.get("Title") or code for code, each in warnings.items())
    return words
