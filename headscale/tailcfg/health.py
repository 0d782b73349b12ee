"""What a client shows its user on the server's behalf: messages, and whether there is a newer release.

Source: tailscale v1.102.4, tailcfg/tailcfg.go (DisplayMessage, ClientVersion).
"""

from typing import Final

import msgspec

from headscale.tailcfg.names import wire_names

# From this capability version on a client takes DisplayMessages; older ones take Health, a list of texts.
DISPLAY_MESSAGES: Final = 117


class DisplayMessageAction(msgspec.Struct, frozen=True, rename=wire_names({"url": "URL"})):
    """A button: where it leads, and what it says."""

    url: str
    label: str


class DisplayMessage(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """`title` fits a line and has no full stop; `severity` is high, medium or low."""

    title: str
    text: str
    severity: str
    impacts_connectivity: bool = False
    primary_action: DisplayMessageAction | None = None


class ClientVersion(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """`latest_version` (like 1.102.4) only for a client that does not run it."""

    running_latest: bool = False
    latest_version: str = ""
