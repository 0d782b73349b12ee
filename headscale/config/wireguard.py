"""`wireguard_peers`: plain WireGuard servers, without a Tailscale client, that nodes use as an exit or as a router."""

import base64
import binascii
import ipaddress
import re
from typing import Any, Final, Protocol

import msgspec

from headscale.errors import Malformed
from headscale.keys import NodeKey
from headscale.records import WireGuardPeer
from headscale.sources.extrarecords import domain_name
from headscale.tailcfg.hostinfo import Location

KEY: Final = "wireguard_peers"
EXIT_ROUTES: Final = ("0.0.0.0/0", "::/0")
KEY_BYTES: Final = 32
_NAME: Final = re.compile(r"[a-z0-9-]{1,63}")
_TAG: Final = re.compile(r"tag:[a-z][a-z0-9-]*")


class Values(Protocol):
    """The values as they were read, and where complaints go."""

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or the default."""

    def complain(self, name: str, what: str) -> None:
        """Something is wrong with this key."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """As operators write it."""

    name: str
    public_key: str
    endpoints: list[str]
    tags: list[str]
    routes: list[str] = msgspec.field(default_factory=lambda: [*EXIT_ROUTES])
    dns: list[str] = []
    country: str = ""
    country_code: str = ""
    city: str = ""
    city_code: str = ""


def wireguard_peers(values: Values) -> tuple[WireGuardPeer, ...]:
    """The section; whatever is wrong with it becomes complaints."""
    peers: list[WireGuardPeer] = []
    for number, entry in enumerate(values.get(KEY, ()), start=1):
        try:
            peers.append(_peer(msgspec.convert(entry, _Entry)))
        except (Malformed, msgspec.ValidationError) as problem:
            values.complain(KEY, f"entry {number}: {problem}")
    for field in ("name", "public_key"):
        given = [getattr(peer, field) for peer in peers]
        if len({*given}) < len(given):
            values.complain(KEY, f"two entries have the same {field}")
    return tuple(sorted(peers, key=lambda peer: peer.name))


def _peer(entry: _Entry) -> WireGuardPeer:
    if not entry.endpoints:
        raise Malformed("endpoints: at least one address with a port, like 192.0.2.1:51820")
    if not entry.tags:
        raise Malformed("tags: at least one, by which the policy says who may use it")
    name = domain_name(entry.name)
    if name is None or not _NAME.fullmatch(name):
        raise Malformed(f"name: {entry.name!r} is not a node name: letters, digits and inner hyphens")
    return WireGuardPeer(
        name=name,
        public_key=_key(entry.public_key),
        endpoints=tuple(map(_endpoint, entry.endpoints)),
        tags=tuple(sorted({*map(_tag, entry.tags)})),
        routes=_routes(entry.routes),
        dns=tuple(map(_address, entry.dns)),
        location=_location(entry),
    )


def _tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise Malformed(f"tags: {text!r} is not a tag: expected tag: and lower-case letters, digits, hyphens")
    return text


def _routes(texts: list[str]) -> tuple[str, ...]:
    """One exit route stands for both families, as when an administrator approves one."""
    networks: set[ipaddress.IPv4Network | ipaddress.IPv6Network] = set()
    for text in texts:
        try:
            networks.add(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise Malformed(f"routes: {text!r} is not a prefix") from None
    exits = {*map(ipaddress.ip_network, EXIT_ROUTES)}
    if not networks.isdisjoint(exits):
        networks |= exits
    return tuple(map(str, sorted(networks, key=lambda n: (n.version, int(n.network_address), n.prefixlen))))


def _key(text: str) -> NodeKey:
    """As `wg pubkey` prints it."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES or not any(raw):
        raise Malformed("public_key: expected a key as `wg pubkey` prints it (44 characters of base64)")
    return NodeKey(f"nodekey:{raw.hex()}")


def _endpoint(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        if not 0 < int(port) < 65536:
            raise ValueError
    except ValueError:
        raise Malformed(
            f"endpoints: {text!r} is not an address with a port, like 192.0.2.1:51820 or [2001:db8::1]:51820"
        ) from None
    return f"[{address}]:{int(port)}" if address.version == 6 else f"{address}:{int(port)}"


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Malformed(f"dns: {text!r} is not an IP address") from None


def _location(entry: _Entry) -> Location | None:
    given = (entry.country, entry.country_code, entry.city, entry.city_code)
    if not any(given):
        return None
    if not all(given):
        raise Malformed("country, country_code, city and city_code are given together or not at all")
    return Location(*given)
