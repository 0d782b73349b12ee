"""Configuration profiles for Apple's systems, which tell Tailscale's app the server that it logs in to.

The keys are Apple's (Configuration Profile Reference), the payload types those of the three builds of the app. The
identifier of the profile is the Go headscale's, so that a profile from here takes the place of one from there.
"""

import plistlib
from collections.abc import Mapping
from typing import Final
from uuid import UUID

IDENTIFIER: Final = "com.github.juanfont.headscale"
CONTENT_TYPE: Final = "application/x-apple-aspen-config"
PAYLOAD_TYPES: Final[Mapping[str, str]] = {
    "ios": "io.tailscale.ipn.ios",
    "macos-app-store": "io.tailscale.ipn.macos",
    "macos-standalone": "io.tailscale.ipn.macsys",
}
"""By what the build is called here. The last two are also the domains of `defaults write`."""


def profile_of(build: str, server_url: str, *, profile_id: UUID, payload_id: UUID) -> bytes:
    """A profile for this build (a key of `PAYLOAD_TYPES`), as an XML property list. Both ids are to be new ones."""
    payload = {
        "PayloadType": PAYLOAD_TYPES[build],
        "PayloadIdentifier": f"{IDENTIFIER}.{build}",
        "PayloadUUID": str(payload_id),
        "PayloadVersion": 1,
        "PayloadEnabled": True,
        "ControlURL": server_url,
    }
    profile = {
        "PayloadType": "Configuration",
        "PayloadIdentifier": IDENTIFIER,
        "PayloadUUID": str(profile_id),
        "PayloadVersion": 1,
        "PayloadDisplayName": "Headscale",
        "PayloadDescription": f"Tailscale logs in to {server_url}",
        "PayloadRemovalDisallowed": False,
        "PayloadContent": [payload],
    }
    return plistlib.dumps(profile, sort_keys=False)
