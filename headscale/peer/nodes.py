"""The peer's nodes as ours, each by itself; what two of them cannot both have is `unique`'s."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeVar

from headscale.errors import Malformed
from headscale.keys import (
    ZERO_DISCO_KEY,
    ZERO_MACHINE_KEY,
    ZERO_NODE_KEY,
    DiscoKey,
    MachineKey,
    NodeKey,
    parse_disco_key,
    parse_machine_key,
    parse_node_key,
)
from headscale.peer.cells import ZERO_BEFORE, Unreadable, id_of, list_of, text_of, time_of
from headscale.peer.credentials import owner_of
from headscale.peer.people import People
from headscale.peer.report import Ledger
from headscale.peer.routes import approved_routes
from headscale.peer.rows import Row
from headscale.peer.times import created, is_set, last_seen
from headscale.records import Address, Node, PreAuthKey, RegisterMethod
from headscale.state.addresses import SERVICE_V4, SERVICE_V6
from headscale.state.names import check_label, label_of
from headscale.state.report import usable_endpoints
from headscale.state.routes import with_plain_routes
from headscale.state.tags import TAGS_MAX, plain_tags
from headscale.tailcfg.hostinfo import Hostinfo
from headscale.tailcfg.names import decode_request

# Owns what was tagged with texts that are no tags: better nobody's node than a user's.
STAND_IN: Final = "tag:imported"
# What 0.27 and 0.28 called a node whose name was none.
HISTORIC_NAME: Final = "invalid-"

A = TypeVar("A", IPv4Address, IPv6Address)
# Which of the tags that a client asks for the policy would have given it: (user id, tags asked for).
Permitted = Callable[[int | None, tuple[str, ...]], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a node refers to: users, keys and routes by the peer's ids."""

    people: People
    keys: Mapping[int, PreAuthKey]
    enabled: Mapping[int, tuple[str, ...]]
    permitted: Permitted
    now: datetime


def take_node(row: Row, around: Surroundings, ledger: Ledger) -> Node | None:
    """The node; None when no client could be it or nobody would own it."""
    identity = _identity(row, ledger)
    if identity is None:
        return None
    node_id, machine_key, node_key = identity
    key = _auth_key(row, around.keys, ledger)
    hostinfo = _hostinfo(row, ledger)
    owner = owner_of(row, around.people, ledger)
    tags = _tags(row, around.permitted(owner, hostinfo.request_tags), ledger)
    if not tags and owner is None and key is not None and key.user_id is not None and not key.tags:
        owner = key.user_id
        ledger.repaired(row, f"it had no owner: it is its pre-auth key's, user {owner}")
    if not tags and owner is None:
        ledger.left_out(row, "nobody owns it: it has neither a user nor tags")
        return None
    if tags and owner is not None:
        ledger.repaired(row, "it had a user and tags: it is its tags' and nobody's")
    if is_set(row.get("deleted_at")):
        ledger.repaired(row, "it is marked as deleted, and yet the Go headscale serves it: it comes in")
    hostname = text_of(row.get("hostname")) or hostinfo.hostname
    expiry = _expiry(row, around.now, ledger, is_tagged=bool(tags))
    return Node(
        id=node_id,
        machine_key=machine_key,
        node_key=node_key,
        disco_key=_disco_key(row, ledger),
        hostname=hostname,
        given_name=_given_name(row, hostname, ledger),
        ipv4=_address(row, "ipv4", IPv4Address, ledger),
        ipv6=_address(row, "ipv6", IPv6Address, ledger),
        user_id=None if tags else owner,
        tags=tags,
        hostinfo=hostinfo,
        endpoints=_endpoints(row),
        ephemeral=key is not None and key.ephemeral,
        register_method=_method(row, key, ledger),
        auth_key_id=key.id if key is not None else None,
        approved_routes=approved_routes(row, around.enabled.get(node_id, ()), ledger),
        expiry=expiry,
        last_seen=last_seen(row),
        created_at=created(row, around.now),
        expired=expiry is not None and expiry <= around.now,
    )


def _identity(row: Row, ledger: Ledger) -> tuple[int, MachineKey, NodeKey] | None:
    """Id, machine key and node key: without one of them no client is this node."""
    try:
        machine_key = parse_machine_key(text_of(row.get("machine_key")))
        node_key = parse_node_key(text_of(row.get("node_key")))
    except Malformed:
        ledger.left_out(row, "its machine key or node key is none: no client can be this node")
        return None
    if machine_key == ZERO_MACHINE_KEY or node_key == ZERO_NODE_KEY:
        ledger.left_out(row, "its machine key or node key is all zeros: no client can be this node")
        return None
    if row.id is None:
        ledger.left_out(row, "its id is no number that an id can be")
        return None
    return row.id, machine_key, node_key


def _auth_key(row: Row, keys: Mapping[int, PreAuthKey], ledger: Ledger) -> PreAuthKey | None:
    try:
        key_id = id_of(row.get("auth_key_id"))
    except Unreadable:
        key_id = -1
    if key_id is None:
        return None
    key = keys.get(key_id)
    if key is None:
        ledger.repaired(row, "the pre-auth key that it names does not exist or does not come in: it has none")
    return key


def _tags(row: Row, permitted: tuple[str, ...], ledger: Ledger) -> tuple[str, ...]:
    try:
        given = list_of(row.get("tags", "forced_tags"))
    except Unreadable:
        ledger.repaired(row, f"its tags cannot be read: it gets {STAND_IN}, so that it is nobody's")
        return (STAND_IN,)
    added = tuple(tag for tag in permitted if tag not in given)
    if added:
        ledger.repaired(row, f"the policy gives it tags that it asked for: {', '.join(added)[:200]}")
    good: list[str] = []
    for tag in (*given, *added):
        try:
            good += plain_tags((tag.strip().lower(),))
        except Malformed:
            ledger.repaired(row, f"{tag[:80]!r} is no tag: it is dropped")
    if given and not good:
        ledger.repaired(row, f"none of its tags is one: it gets {STAND_IN}, so that it is nobody's")
        return (STAND_IN,)
    return plain_tags(sorted(set(good))[:TAGS_MAX])


def _hostinfo(row: Row, ledger: Ledger) -> Hostinfo:
    text = text_of(row.get("host_info")).strip()
    if text in ("", "null"):
        return Hostinfo()
    try:
        return with_plain_routes(decode_request(text.encode(errors="replace"), Hostinfo))
    except Malformed:
        ledger.repaired(row, "its host info cannot be read: the client sends it again when it connects")
        return Hostinfo()


def _disco_key(row: Row, ledger: Ledger) -> DiscoKey:
    """The client sends another whenever it starts, so one that cannot be read is no loss."""
    text = text_of(row.get("disco_key"))
    if not text:
        return ZERO_DISCO_KEY
    try:
        return parse_disco_key(text)
    except Malformed:
        ledger.repaired(row, "its disco key cannot be read: the client sends it again when it connects")
        return ZERO_DISCO_KEY


def _given_name(row: Row, hostname: str, ledger: Ledger) -> str:
    given = text_of(row.get("given_name"))
    try:
        name = check_label(given)
    except Malformed:
        name = label_of(given or hostname)
    if name != given:
        ledger.repaired(row, f"its name {given[:80]!r} is none in the DNS: it becomes {name!r}")
    elif name.startswith(HISTORIC_NAME):
        ledger.noted(row, "an older release named it so, for want of a usable name: rename it if you like")
    return name


def _address(row: Row, column: str, family: type[A], ledger: Ledger) -> A | None:
    text = text_of(row.get(column)).strip()
    if not text:
        return None
    try:
        address = family(text)
        if not is_usable(address):
            raise ValueError
    except ValueError:
        ledger.repaired(
            row, f"its {column} {text[:45]!r} is no address that a node can have: it gets another"
        )
        return None
    return address


def is_usable(address: Address) -> bool:
    """Whether a node may have this address."""
    special = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    scoped = isinstance(address, ipaddress.IPv6Address) and (
        address.scope_id is not None or address.ipv4_mapped is not None
    )
    return not (special or scoped or address in (SERVICE_V4, SERVICE_V6))


def _endpoints(row: Row) -> tuple[str, ...]:
    try:
        return usable_endpoints(list_of(row.get("endpoints")))
    except Unreadable:
        return ()  # of no use an hour later


def _method(row: Row, key: PreAuthKey | None, ledger: Ledger) -> RegisterMethod:
    given = text_of(row.get("register_method"))
    try:
        return RegisterMethod(given)
    except ValueError:
        method = RegisterMethod.AUTH_KEY if key is not None else RegisterMethod.CLI
        ledger.repaired(
            row, f"it came in by {given[:40]!r}, which is no way in: {method.value} stands for it"
        )
        return method


def _expiry(row: Row, now: datetime, ledger: Ledger, *, is_tagged: bool) -> datetime | None:
    try:
        expiry = time_of(row.get("expiry"))
    except Unreadable:
        ledger.repaired(
            row, "when its key ends cannot be read: it does not end; expire the node if it should"
        )
        return None
    if expiry is not None and expiry < ZERO_BEFORE:
        ledger.repaired(row, "its key ended at the zero time, which stands for never: it does not end")
        return None
    if expiry is not None and is_tagged and expiry > now:
        ledger.repaired(row, "it is tagged: its key does not end")
        return None
    return expiry
