"""Who a request is from, when it came through reverse proxies (`trusted_proxies`).

Only what a trusted proxy added is believed. `X-Forwarded-For` comes first: each proxy appends whom it talked to, so
that its last address that is no trusted proxy's was seen by one of ours, whatever the client wrote before it.
`X-Real-IP` and `True-Client-IP` are for proxies that send no such list; a proxy passes on what a client wrote into a
header that it does not set.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Final

from headscale.errors import Malformed

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LIST: Final = "X-Forwarded-For"
SINGLE: Final = ("X-Real-IP", "True-Client-IP")
HEADERS: Final = (LIST, *SINGLE)
# More proxies in a row than anybody has; what stands before them was written by the client.
HOPS_MAX: Final = 32
_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.%]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


def parse_proxy(text: str) -> Network:
    """An address, or a prefix whose host bits are dropped. Raises Malformed, for everybody (a whole family) too."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise Malformed(f"{text!r} is neither an IP address nor a prefix such as 10.0.0.0/8") from None
    if network.prefixlen == 0:
        raise Malformed(f"{text} trusts everybody, so that anyone could say where a request is from")
    return network


def client_of(peer: str, headers: Mapping[str, Sequence[str]], trusted: Sequence[Network]) -> str:
    """The address of the client, as text: the peer's own unless that is a trusted proxy and says whom it is for.

    `headers` has the values of each of HEADERS that the request has, in their order.
    """
    own = parse_address(peer)
    if own is None or not is_trusted(own, trusted):
        return str(own) if own is not None else peer
    hops = [hop for value in headers.get(LIST, ()) for hop in value.split(",")][-HOPS_MAX:]
    for hop in reversed(hops):
        address = parse_address(hop)
        if address is None:
            return str(own)  # who wrote that is not known, and even less who is before it
        own = address
        if not is_trusted(address, trusted):
            return str(address)
    if hops:
        return str(own)  # all of them are ours: the first one is where it began
    for name in SINGLE:
        for value in headers.get(name, ())[-1:]:
            if (address := parse_address(value)) is not None:
                return str(address)
    return str(own)


def parse_address(text: str) -> Address | None:
    """An address without its port and zone, IPv4 in IPv6 as IPv4; None for anything else."""
    text = text.strip()
    if (found := _WITH_PORT.fullmatch(text)) is not None:
        text = found[1] or found[2]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    """Whether it is a proxy of ours."""
    return any(address in network for network in trusted if network.version == address.version)
