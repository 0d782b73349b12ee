"""Small tailnets for tests of the cores: a snapshot with users, keys and nodes in one call each."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar, cast

from headscale.keys import ZERO_DISCO_KEY, MachineKey, NodeKey, machine_key, node_key
from headscale.policy.compiled import Compiled, Favourites
from headscale.policy.document import Document
from headscale.policy.subjects import EXIT_ROUTES, Network, Person, Subject
from headscale.records import Node, PreAuthKey, RegisterMethod, TailnetSettings, User
from headscale.state.admission import Request
from headscale.state.credentials import KeySecret, create_key, draw_secret
from headscale.state.effect import Effect, Moment
from headscale.state.login import log_in
from headscale.state.policy import prepare, set_policy
from headscale.state.preferences import set_device_approval
from headscale.state.register import register
from headscale.state.snapshot import Snapshot, put_node, put_user
from headscale.state.users import create_user
from headscale.tailcfg.derpmap import DERPMap
from headscale.tailcfg.filters import ANY_PORT, FilterRule, NetPortRange
from headscale.tailcfg.hostinfo import Hostinfo
from headscale.tailcfg.node import CapMap
from headscale.tailcfg.ssh import SSHAction, SSHPolicy, SSHPrincipal, SSHRule

T = TypeVar("T")

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SETTINGS = TailnetSettings(server_url="http://127.0.0.1:8080")


def moment(now: datetime = NOW) -> Moment:
    """A moment whose die always shows the highest number."""
    return Moment(now, lambda sides: sides - 1)


def tailnet(*user_names: str, settings: TailnetSettings = SETTINGS) -> Snapshot:
    """A tailnet with these users, numbered from 1."""
    snapshot = Snapshot(
        settings=settings,
        configured=settings,
        derp_map=DERPMap(regions={}),
        extra_records=settings.dns.extra_records,
    )
    for name in user_names:
        snapshot = create_user(snapshot, moment(), name=name).snapshot
    return snapshot


def mkey(number: int) -> MachineKey:
    """The machine key of this number."""
    return machine_key(number.to_bytes(32, "big"))


def nkey(number: int) -> NodeKey:
    """The node key of this number."""
    return node_key((number + 1_000_000).to_bytes(32, "big"))


def secret(number: int) -> KeySecret:
    """The pre-auth key secret of this number."""
    return draw_secret(number.to_bytes(38, "little"))


def with_key(
    snapshot: Snapshot, number: int = 1, *, user_id: int | None = 1, **kind: Any
) -> tuple[Snapshot, PreAuthKey, str]:
    """The tailnet with a pre-auth key of this number: the key and its text."""
    drawn = secret(number)
    effect = create_key(snapshot, moment(), secret=drawn, user_id=user_id, **kind)
    return effect.snapshot, effect.result, drawn.reveal()


def request(number: int = 1, *, auth_key: str = "", node: NodeKey | None = None, **more: Any) -> Request:
    """A registration of the machine with this number, by default with the node key of the same number."""
    more.setdefault("hostinfo", Hostinfo(hostname=f"host{number}"))
    return Request(
        machine_key=mkey(number), node_key=node or nkey(number), auth_key=auth_key, version=142, **more
    )


def registered(snapshot: Snapshot, wanted: Request, now: datetime = NOW) -> Effect[Any]:
    """Run a registration."""
    return register(snapshot, moment(now), request=wanted)


def node(number: int, **more: Any) -> Node:
    """A node of user 1 with addresses of its number."""
    values: dict[str, Any] = {
        "id": number,
        "machine_key": mkey(number),
        "node_key": nkey(number),
        "disco_key": ZERO_DISCO_KEY,
        "hostname": f"host{number}",
        "given_name": f"host{number}",
        "ipv4": IPv4Address(f"100.64.0.{number}"),
        "ipv6": IPv6Address(f"fd7a:115c:a1e0::{number:x}"),
        "user_id": 1,
        "created_at": NOW,
        "cap_version": 142,
    }
    return Node(**(values | more))


def with_nodes(snapshot: Snapshot, *nodes: Node) -> Snapshot:
    """The tailnet with these nodes."""
    for each in nodes:
        snapshot = put_node(snapshot, each)
    return snapshot


def with_user(snapshot: Snapshot, user: User, **changes: Any) -> Snapshot:
    """The tailnet with a changed user."""
    return put_user(snapshot, replace(user, **changes))


def router(number: int, *routes: str, approved: bool = True, **more: Any) -> Node:
    """A node of user 1 that advertises these routes, and with them approved unless told otherwise."""
    granted = {"approved_routes": routes} if approved else {}
    return node(number, hostinfo=Hostinfo(routable_ips=routes), **{**granted, **more})


def logged_in(
    snapshot: Snapshot, wanted: Request, *, user_id: int = 1, vouched: bool = True, now: datetime = NOW
) -> Effect[Any]:
    """Let the machine of this request in as the user's."""
    return log_in(
        snapshot,
        moment(now),
        request=wanted,
        user_id=user_id,
        method=RegisterMethod.CLI,
        vouched=vouched,
    )


def with_policy_text(snapshot: Snapshot, text: str) -> Snapshot:
    """The tailnet with this policy in force."""
    return set_policy(snapshot, moment(), prepared=prepare(snapshot, text)).snapshot


def with_approval(snapshot: Snapshot, *, on: bool = True) -> Snapshot:
    """The tailnet in which new devices wait for approval."""
    return set_device_approval(snapshot, moment(), on=on).snapshot


TAGGED = 0


@dataclass(frozen=True)
class FakePolicy:
    """A policy by owner, where a test is not about what policies mean. Owners are user ids, or TAGGED.

    `pairs` are the owners that see each other, in both orders; None is everybody. A node lets in whom it sees. Who may
    log in by SSH, has the capability, shows it to peers, has no IPv4 address or uses no routes: nodes of these owners.
    Everybody is steered to routers with `via_tags` where there are any.
    """

    subjects: Mapping[int, Subject] = field(default_factory=dict)
    people: Mapping[int, Person] = field(default_factory=dict)
    document: Document | None = field(default_factory=lambda: cast(Document, "fake"))
    pairs: frozenset[tuple[int, int]] | None = None
    ssh: frozenset[int] = frozenset()
    capable: frozenset[int] = frozenset()
    showing: frozenset[int] = frozenset()
    without_ipv4: frozenset[int] = frozenset()
    routeless: frozenset[int] = frozenset()
    approving: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset({"tag:web", "tag:db"})
    via_tags: frozenset[str] = frozenset()

    def updated(self, changed: Iterable[Subject] = (), gone: Iterable[int] = ()) -> "FakePolicy":
        subjects = {**self.subjects, **{subject.id: subject for subject in changed}}
        return replace(self, subjects={i: s for i, s in subjects.items() if i not in set(gone)})

    def with_people(self, people: Mapping[int, Person]) -> "FakePolicy":
        return replace(self, people=people)

    def class_of(self, node_id: int) -> object:
        return self._owner(node_id) if node_id in self.subjects else None

    def sees(self, viewer_id: int, peer_id: int) -> bool:
        if viewer_id == peer_id or not {viewer_id, peer_id} <= set(self.subjects):
            return False
        return self.pairs is None or (self._owner(viewer_id), self._owner(peer_id)) in self.pairs

    def peers_of(self, viewer_id: int) -> frozenset[int]:
        return frozenset(peer_id for peer_id in self.subjects if self.sees(viewer_id, peer_id))

    def seen_by_class(self, viewer_id: int) -> tuple[int, ...]:
        if viewer_id not in self.subjects:
            return ()
        own = self._owner(viewer_id)
        return tuple(i for i in self.subjects if self.pairs is None or (own, self._owner(i)) in self.pairs)

    def filter_of(self, node_id: int) -> tuple[FilterRule, ...]:
        peers = sorted(self.peers_of(node_id))
        sources = tuple(str(self.subjects[i].ipv6) for i in peers)
        return (FilterRule(src_ips=sources, dst_ports=(NetPortRange("*", ANY_PORT),)),) if sources else ()

    def filter_key(self, node_id: int) -> Hashable:
        return self.filter_of(node_id)

    def keeps_filter(self, node_id: int, before: "FakePolicy") -> bool:
        return self.filter_of(node_id) == before.filter_of(node_id)

    def ssh_of(self, node_id: int) -> SSHPolicy | None:
        if self._owner(node_id) not in self.ssh:
            return None
        principals = tuple(SSHPrincipal(str(self.subjects[i].ipv6)) for i in sorted(self.peers_of(node_id)))
        return SSHPolicy((SSHRule(principals, {"*": "="}, SSHAction(accept=True)),)) if principals else None

    def caps_of(self, node_id: int) -> CapMap:
        own: CapMap = {"example.com/cap/own": [], "nextdns:abc": []}
        return own if self._owner(node_id) in self.capable else {}

    def peer_caps_of(self, node_id: int) -> CapMap:
        return {"suggest-exit-node": []} if self._owner(node_id) in self.showing else {}

    def hides_ipv4(self, node_id: int) -> bool:
        return self._owner(node_id) in self.without_ipv4

    def routes_for(
        self, viewer_id: int, peer_id: int, primaries: Mapping[Network, int], favourites: Favourites
    ) -> tuple[Network, ...]:
        if not self.sees(viewer_id, peer_id) or self._owner(viewer_id) in self.routeless:
            return ()

        def through(route: Network) -> int | None:
            steered = [f for tag in self.via_tags if (f := favourites.get((route, tag)))]
            return min(steered)[-1] if steered else primaries.get(route)

        routes = self.subjects[peer_id].routes
        return tuple(r for r in routes if r in EXIT_ROUTES or through(r) == peer_id)

    def pools_of(self, kind: object) -> tuple[Network, ...]:
        return ()

    def owns_tag(self, tag: str, *, person_id: int | None = None, node_id: int | None = None) -> bool:
        """Who is not the first user owns all tags."""
        return tag in self.tags and person_id != 1

    def approves(self, subject: Subject, route: Network) -> bool:
        return str(route) in self.approving

    def _owner(self, node_id: int) -> int | None:
        """None for a node that the policy does not know."""
        return (self.subjects[node_id].user_id or TAGGED) if node_id in self.subjects else None


def both_ways(*pairs: tuple[int, int]) -> frozenset[tuple[int, int]]:
    """Owners that see each other, as `FakePolicy.pairs` wants them."""
    return frozenset(pair for one, other in pairs for pair in ((one, other), (other, one)))


def compiled(snapshot: Snapshot, **what: Any) -> Compiled:
    """A FakePolicy for these nodes and users."""
    known = snapshot.policy
    return cast(Compiled, FakePolicy(subjects=known.subjects, people=known.people, **what))


def with_policy(snapshot: Snapshot, **what: Any) -> Snapshot:
    """The tailnet under another FakePolicy."""
    policy = compiled(snapshot, **what)
    return replace(snapshot, policy=policy, policy_epoch=snapshot.policy_epoch + 1)
