"""Packet filter rules, as the receiving node is given them."""

import msgspec

from headscale.tailcfg.names import wire_names
from headscale.tailcfg.node import CapMap


class PortRange(msgspec.Struct, frozen=True, rename=wire_names({})):
    """Ports from first to last, both included; 0 to 65535 is any."""

    first: int
    last: int


class NetPortRange(msgspec.Struct, frozen=True, rename=wire_names({"ip": "IP"})):
    """A destination: `*`, an address, a prefix without host bits or a range `a-b`, and its ports."""

    ip: str
    ports: PortRange


class CapGrant(msgspec.Struct, frozen=True, rename=wire_names({})):
    """Capabilities that the sources of a rule hold when they talk to these destinations (prefixes)."""

    dsts: tuple[str, ...]
    cap_map: CapMap


class FilterRule(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename=wire_names({"src_ips": "SrcIPs", "ip_proto": "IPProto"}),
):
    """Who may reach what; no protocols means TCP, UDP, ICMP and ICMPv6.

    Exactly one of `dst_ports` and `cap_grant` is there, and the other's key absent: tailscale-rs refuses a
    whole map for a rule with both or neither. `Bits` must never be sent.
    """

    src_ips: tuple[str, ...]
    dst_ports: tuple[NetPortRange, ...] = ()
    ip_proto: tuple[int, ...] = ()
    cap_grant: tuple[CapGrant, ...] = ()


ANY_PORT = PortRange(0, 65535)
ALLOW_ALL = (FilterRule(src_ips=("*",), dst_ports=(NetPortRange("*", ANY_PORT),)),)
