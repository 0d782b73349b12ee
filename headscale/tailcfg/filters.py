"""Packet filter rules, as the receiving node is given them."""

import msgspec

from headscale.tailcfg.names import wire_names


class PortRange(msgspec.Struct, frozen=True, rename=wire_names({})):
    """Ports from first to last, both included; 0 to 65535 is any."""

    first: int
    last: int


class NetPortRange(msgspec.Struct, frozen=True, rename=wire_names({"ip": "IP"})):
    """A destination: `*`, an address, a prefix without host bits or a range `a-b`, and its ports."""

    ip: str
    ports: PortRange


class FilterRule(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename=wire_names({"src_ips": "SrcIPs", "ip_proto": "IPProto"}),
):
    """Who may reach what; no protocols means TCP, UDP, ICMP and ICMPv6. `Bits` must never be sent."""

    src_ips: tuple[str, ...]
    dst_ports: tuple[NetPortRange, ...] = ()
    ip_proto: tuple[int, ...] = ()


ANY_PORT = PortRange(0, 65535)
ALLOW_ALL = (FilterRule(src_ips=("*",), dst_ports=(NetPortRange("*", ANY_PORT),)),)
