"""What a client's packet filter does with a packet, on the rules that it was sent.

Source: tailscale.com v1.102.4 and v1.80.3, wgengine/filter/filter.go (pre, runIn4, runIn6) and match.go; the facts are
told in `harness.oracle.as_clients_match`.
"""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from harness.oracle import ICMP, ICMPV6, SCTP, TCP, TSMP, UDP, Address, OracleNode, Packet, delivered
from headscale.tailcfg.filters import ANY_PORT, FilterRule, PortRange

DEFAULT_PROTOCOLS = (TCP, UDP, ICMP, ICMPV6)


def admitted(rules: Iterable[FilterRule], receiver: OracleNode, packet: Packet) -> bool:
    """Whether a client with these rules lets the packet in."""
    if packet.src.version != packet.dst.version or not delivered(receiver, packet.dst):
        return False
    if packet.dst.is_multicast or packet.dst.is_link_local:
        return False
    if packet.proto == TSMP:
        return True
    return any(_matches(rule, packet) for rule in rules)


def _matches(rule: FilterRule, packet: Packet) -> bool:
    if not any(_holds(text, packet.src) for text in rule.src_ips):
        return False
    protocols = rule.ip_proto or DEFAULT_PROTOCOLS
    here = [dst.ports for dst in rule.dst_ports if _holds(dst.ip, packet.dst)]
    if packet.proto == (ICMP if packet.dst.version == 4 else ICMPV6):
        return bool(here)
    if packet.proto not in protocols:
        return False
    if packet.proto in (TCP, UDP, SCTP):
        return any(_has(ports, packet.port) for ports in here)
    return ANY_PORT in here


def _has(ports: PortRange, port: int) -> bool:
    return ports.first <= port <= ports.last


def _holds(text: str, address: Address) -> bool:
    """Whether the address is in `*`, an address, a prefix or a range."""
    if text == "*":
        return True
    if "-" in text:
        first, last = map(ip_address, text.split("-"))
        return first.version == address.version and int(first) <= int(address) <= int(last)
    return address in ip_network(text)
