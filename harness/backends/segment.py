"""What a network is made of: the internet, where the control server's host stands, and LANs behind it.

Only addresses are decided here, drawn at random, so that runs beside each other do not meet. Where the control
server stands they are private: to a public address clients insist on HTTPS at port 443 once a connection broke
(tailscale 1.80.3 and 1.102.4, control/controlclient, NewNoiseClient). Public ones, of a block that nobody routes (RFC
2544), are for what is reached through exit nodes, which lead to nothing private.
"""

import secrets
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

INTERNET = "internet"

PUBLIC = IPv4Network("198.18.0.0/15")

PRIVATE = IPv4Network("10.0.0.0/8")

Version = Literal[4, 6]


@dataclass(frozen=True, slots=True)
class Segment:
    """One Ethernet. Machines on it reach each other; what leads elsewhere is up to machines that route."""

    name: str
    ipv4: IPv4Network | None
    ipv6: IPv6Network | None

    def prefix(self, version: Version) -> IPv4Network | IPv6Network | None:
        """Its addresses of that IP version, None when it has none."""
        return self.ipv4 if version == 4 else self.ipv6


def random_public() -> IPv4Network:
    """A /24 that exit nodes lead to."""
    return _random_24(PUBLIC)


def random_private() -> IPv4Network:
    """A /24 for a LAN, or for where the control server stands."""
    return _random_24(PRIVATE)


def random_ula() -> IPv6Network:
    """A /64 of our own (RFC 4193)."""
    prefix = secrets.token_bytes(7).hex()
    return IPv6Network(f"fd{prefix[:2]}:{prefix[2:6]}:{prefix[6:10]}:{prefix[10:14]}::/64")


def _random_24(block: IPv4Network) -> IPv4Network:
    number = secrets.randbelow(1 << (24 - block.prefixlen))
    return IPv4Network((int(block.network_address) + (number << 8), 24))
