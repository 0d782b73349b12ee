"""Protocols and ports as rules write them."""

from dataclasses import dataclass
from typing import Final

from headscale.tailcfg.filters import ANY_PORT, PortRange

# Names and IANA numbers; ipv4 and ip-in-ip are one protocol.
PROTOCOLS: Final = {
    "icmp": 1,
    "igmp": 2,
    "ipv4": 4,
    "ip-in-ip": 4,
    "tcp": 6,
    "egp": 8,
    "igp": 9,
    "udp": 17,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": 58,
    "sctp": 132,
    "fc": 133,
}
# The protocols that have ports; TCP, UDP and SCTP are all that a client looks at the ports of.
WITH_PORTS: Final = frozenset({6, 17, 132})
# What a rule without a protocol admits: TCP, UDP, ICMP and ICMPv6.
DEFAULT: Final = (6, 17, 1, 58)

PORT_MAX: Final = 65535


@dataclass(frozen=True, slots=True)
class Traffic:
    """What may flow: the protocol (None: those of DEFAULT) and the ports."""

    protocol: int | None
    ports: tuple[PortRange, ...]


ANYTHING: Final = Traffic(None, (ANY_PORT,))


def read_protocol(text: str) -> int | None:
    """A protocol's number from its name or number; an empty text is the default set. Raises ValueError."""
    text = text.strip()
    if not text:
        return None
    if text.lower() in PROTOCOLS:
        return PROTOCOLS[text.lower()]
    if text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and int(text) <= 255:
        return int(text)
    names = ", ".join(PROTOCOLS)
    raise ValueError(f'proto="{text}": neither a number from 0 to 255 nor one of {names}')


def read_ports(text: str) -> tuple[PortRange, ...]:
    """`*`, a port, a range `80-90`, or a list of those with commas. Raises ValueError."""
    return tuple(_read_range(part.strip()) for part in text.split(","))


def _read_range(text: str) -> PortRange:
    if text == "*":
        return ANY_PORT
    first_text, dash, last_text = text.partition("-")
    first = _read_port(first_text, text, "first")
    last = _read_port(last_text, text, "last") if dash else first
    if first == 0:
        raise ValueError(f"port range \"{text}\": first port must be >0, or use '*' for wildcard")
    if last < first:
        raise ValueError(f'port range "{text}": the last port is below the first')
    return PortRange(first, last)


def _read_port(text: str, whole: str, which: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit()) or int(text.lstrip("0")[:6] or 0) > PORT_MAX:
        raise ValueError(f'port range "{whole}": invalid {which} integer')
    return int(text)


def read_traffic(text: str) -> Traffic:
    """An entry of a grant's `ip`: `*`, `443`, `80-90`, `tcp:443` or `icmp:*`. Raises ValueError."""
    text = text.strip()
    name, colon, ports = text.rpartition(":")
    if not colon:
        return Traffic(None, read_ports(text))
    protocol = read_protocol(name)
    traffic = Traffic(protocol, read_ports(ports))
    check_ports(traffic)
    return traffic


def check_ports(traffic: Traffic) -> None:
    """Ports mean something for few protocols only. Raises ValueError."""
    if traffic.protocol is None or traffic.protocol in WITH_PORTS:
        return
    if any(ports != ANY_PORT for ports in traffic.ports):
        raise ValueError(
            f"protocol {traffic.protocol} has no ports: use '*' (only tcp, udp and sctp can be limited to ports)"
        )
