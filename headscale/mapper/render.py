"""A node as its peers and as it itself see it, encoded once for everybody.

Every string here came from some client and goes to all others. tailscale-rs cannot decode a string with any
JSON escape in it (protocol notes in docs/protocol.md), so what would need one is left out.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
from msgspec import structs

from headscale.keys import is_zero
from headscale.mapper.view import NO_WAYS, Look, Ways, peer_look
from headscale.records import TAGGED_DISPLAY, TAGGED_LOGIN, TAGGED_USER_ID, Node, TailnetSettings, User
from headscale.state.snapshot import Snapshot
from headscale.tailcfg import node as wire
from headscale.tailcfg.dns import Resolver
from headscale.tailcfg.hostinfo import Hostinfo, Service

# Where a relay region is written as an address: clients before capability version 111 read only this.
DERP_MAGIC: Final = "127.3.3.40"

CAP_ADMIN: Final = "https://tailscale.com/cap/is-admin"
CAP_SSH: Final = "https://tailscale.com/cap/ssh"
# Without it clients leave the variables out that a rule's `acceptEnv` lets in.
CAP_SSH_VARIABLES: Final = "ssh-env-vars"
CAP_FILE_SHARING: Final = "https://tailscale.com/cap/file-sharing"
CAP_HTTPS: Final = "https"
CAP_AUTO_UPDATE: Final = "default-auto-update"

PLAIN: Final = Look()
# Encodings of one node for viewers with different routes through it; more are made again when they are needed.
VARIANTS_MAX: Final = 64

_ESCAPED: Final = re.compile(r'["\\\x00-\x1f\x7f]')


def plain(text: str) -> str:
    """The text without what JSON would have to escape."""
    return _ESCAPED.sub("", text)


def dns_name(settings: TailnetSettings, node: Node) -> str:
    """The node's full name with its final dot; the bare label in a tailnet without a domain."""
    domain = settings.dns.base_domain
    return f"{node.given_name}.{domain}." if domain else node.given_name


def owner_id(node: Node) -> int:
    """The user that clients show as the node's owner."""
    return TAGGED_USER_ID if node.user_id is None else node.user_id


def profile_of(owner: int, user: User | None) -> wire.UserProfile:
    """The owner for clients; tagged nodes share a stand-in."""
    if user is None:
        return wire.UserProfile(owner, TAGGED_LOGIN, TAGGED_DISPLAY)
    return wire.UserProfile(
        owner,
        plain(user.login),
        plain(user.display_name) or plain(user.login),
        plain(user.profile_pic_url),
    )


def peer_node(settings: TailnetSettings, node: Node, look: Look = PLAIN, ways: Ways = NO_WAYS) -> wire.Node:
    """The node for others. `online` is always explicit: clients lose a change from or to absent."""
    shown = _node(settings, node, look, ways)
    return structs.replace(shown, cap_map=look.capabilities) if look.capabilities else shown


def self_node(settings: TailnetSettings, node: Node, look: Look = PLAIN, ways: Ways = NO_WAYS) -> wire.Node:
    """The node for its own client, with the capabilities that it has."""
    shown = _node(settings, node, look, ways)
    return structs.replace(shown, cap_map={**_capabilities(settings), **look.capabilities})


def _node(settings: TailnetSettings, node: Node, look: Look, ways: Ways) -> wire.Node:
    addresses = tuple(
        f"{address}/{address.max_prefixlen}"
        for address in node.addresses
        if not (look.hides_ipv4 and address.version == 4)
    )
    return wire.Node(
        id=node.id,
        stable_id=str(node.id),
        name=dns_name(settings, node),
        user=owner_id(node),
        key=node.node_key,
        machine=node.machine_key,
        addresses=addresses,
        allowed_ips=(*addresses, *map(str, ways.routes)),
        endpoints=node.endpoints,
        # Where it is, a client cannot say of itself.
        hostinfo=shared_hostinfo(node.hostinfo, node.hostinfo.location if node.is_wireguard_only else None),
        key_expiry=node.expiry,
        disco_key="" if is_zero(node.disco_key) else node.disco_key,
        derp=f"{DERP_MAGIC}:{node.home_derp}" if node.home_derp else "",
        home_derp=node.home_derp,
        primary_routes=tuple(map(str, ways.primary)),
        created=node.created_at,
        cap=node.cap_version,
        tags=node.tags,
        last_seen=None if node.online else node.last_seen,
        online=node.online,
        machine_authorized=node.authorized,
        expired=node.expired,
        is_wireguard_only=node.is_wireguard_only,
        exit_node_dns_resolvers=tuple(Resolver(address) for address in node.exit_dns),
    )


def _capabilities(settings: TailnetSettings) -> wire.CapMap:
    """What every client has: admin texts in its UI, SSH, Taildrop, certificates, and whether it updates itself."""
    capabilities: wire.CapMap = {
        CAP_ADMIN: [],
        CAP_SSH: [],
        CAP_SSH_VARIABLES: [],
        CAP_AUTO_UPDATE: [msgspec.Raw(b"true" if settings.auto_update else b"false")],
    }
    if settings.taildrop:
        capabilities[CAP_FILE_SHARING] = []
    if settings.dns.certificates:
        capabilities[CAP_HTTPS] = []
    return capabilities


def shared_hostinfo(hostinfo: Hostinfo, location: dict[str, Any] | None = None) -> Hostinfo:
    """What peers need of a client's description; what it says about its owner and hardware stays here."""
    return Hostinfo(
        os=plain(hostinfo.os),
        hostname=plain(hostinfo.hostname),
        shields_up=hostinfo.shields_up,
        services=tuple(
            Service(proto=plain(service.proto), port=service.port) for service in hostinfo.services
        ),
        ssh_host_keys=tuple(map(plain, hostinfo.ssh_host_keys)),
        app_connector=hostinfo.app_connector,
        peer_relay=hostinfo.peer_relay,
        location=location,
    )


@dataclass(slots=True)
class _Known:
    """One version of a node and its encodings; `policy_epoch` is the last for which its look was asked."""

    node: Node
    look: Look
    policy_epoch: int
    plain: msgspec.Raw
    others: dict[tuple[Ways, bool], msgspec.Raw] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """All nodes of a snapshot by id: the encoding without routes, and the owner that clients show.

    `profiles` remembers the owners' profiles for viewers who are told of the same owners, which most are.
    """

    snapshot: Snapshot | None
    plain: dict[int, msgspec.Raw]
    owners: dict[int, int]
    profiles: dict[frozenset[int], tuple[wire.UserProfile, ...]] = field(default_factory=dict)


class PeerBytes:
    """Each node's encoding for its peers, made once a version of the node and shared by all viewers.

    Most viewers are shown the same. Another encoding is made for those who may use routes through the node, and for
    those who are to see no IPv4 addresses.
    """

    def __init__(self, settings: TailnetSettings) -> None:
        self._settings = settings
        self._encoder = msgspec.json.Encoder()
        self._known: dict[int, _Known] = {}
        self._table = Table(None, {}, {})

    def of(
        self, snapshot: Snapshot, node: Node, ways: Ways = NO_WAYS, *, without_ipv4: bool = False
    ) -> msgspec.Raw:
        """The JSON of this version of the node; one that hides its IPv4 address does so from everybody."""
        known = self._known.get(node.id)
        if known is None or known.node is not node or known.policy_epoch != snapshot.policy_epoch:
            known = self._renewed(snapshot, node)
        if not ways.routes and not without_ipv4:
            return known.plain
        variant = (ways, without_ipv4)
        encoded = known.others.get(variant)
        if encoded is None:
            if len(known.others) >= VARIANTS_MAX:
                known.others.clear()
            look = replace(known.look, hides_ipv4=True) if without_ipv4 else known.look
            encoded = known.others[variant] = self._encoded(node, look, ways)
        return encoded

    def table(self, snapshot: Snapshot) -> Table:
        """What most viewers are shown of each node; kept for one snapshot."""
        if self._table.snapshot is not snapshot:
            nodes = snapshot.nodes.items()
            self._table = Table(
                snapshot,
                plain={node_id: self.of(snapshot, node) for node_id, node in nodes},
                owners={node_id: owner_id(node) for node_id, node in nodes},
            )
        return self._table

    def profiles(self, snapshot: Snapshot, owners: frozenset[int]) -> tuple[wire.UserProfile, ...]:
        """The owners of these numbers, by number."""
        known = self.table(snapshot).profiles
        if owners not in known:
            known[owners] = tuple(profile_of(owner, snapshot.users.get(owner)) for owner in sorted(owners))
        return known[owners]

    def forget(self, node_id: int) -> None:
        """Let go of a node that was deleted."""
        self._known.pop(node_id, None)

    def _renewed(self, snapshot: Snapshot, node: Node) -> _Known:
        known, look = self._known.get(node.id), peer_look(snapshot, node.id)
        if known is not None and known.node is node and known.look == look:
            known.policy_epoch = snapshot.policy_epoch
            return known
        renewed = _Known(node, look, snapshot.policy_epoch, self._encoded(node, look, NO_WAYS))
        self._known[node.id] = renewed
        return renewed

    def _encoded(self, node: Node, look: Look, ways: Ways) -> msgspec.Raw:
        return msgspec.Raw(self._encoder.encode(peer_node(self._settings, node, look, ways)))
