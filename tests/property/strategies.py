"""What can happen to a tailnet, as data: a history of steps that refer to users, machines and nodes by number.

A number that nobody has is taken modulo those that there are, so that most steps do something, and shrinking
keeps a history meaningful.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from hypothesis import strategies as st

from headscale.errors import HeadscaleError
from headscale.keys import DiscoKey, MachineKey, NodeKey, disco_key, machine_key, node_key
from headscale.records import Node, PolicyText, RegisterMethod, Update
from headscale.state.admission import Request
from headscale.state.credentials import create_key, delete_key, draw_secret
from headscale.state.derp import set_derp_map
from headscale.state.dns import set_extra_records
from headscale.state.effect import Effect, Moment, Step
from headscale.state.login import log_in
from headscale.state.nodes import (
    delete_idle_ephemeral,
    delete_node,
    expire_due,
    expire_node,
    mark_ending,
    rename_node,
)
from headscale.state.policy import Prepared, adopt_policy
from headscale.state.preferences import authorize_node, set_device_approval
from headscale.state.presence import arrive, asked, leave, stay_away
from headscale.state.register import register
from headscale.state.report import report
from headscale.state.snapshot import Snapshot, put_node
from headscale.state.tags import set_tags
from headscale.state.users import create_user, delete_user, rename_user
from headscale.tailcfg.derpmap import DERPMap
from headscale.tailcfg.dns import DNSRecord
from headscale.tailcfg.hostinfo import Hostinfo, NetInfo
from headscale.tailcfg.maps import MapRequest
from tests.builders import NOW, TAGGED, both_ways, compiled, tailnet

USERS: Final = ("alice", "bob", "carol")
MACHINES: Final = 3
TAGS: Final = (("tag:web",), ("tag:db", "tag:web"), ("tag:none",))
# Real steps are never so close that two share a time that clients compare.
STEP: Final = timedelta(milliseconds=7)
LOGOUT: Final = NOW - timedelta(days=20_000)


@dataclass(frozen=True)
class Act:
    """One thing that happens. `who` picks a machine or node, `what` a variant."""

    kind: str
    who: int = 0
    what: int = 0


# What makes traps of deltas stands more than once.
ACTS: Final = (
    *("join", "join_tagged", "join_ephemeral", "rotate", "rotate", "logout", "refresh"),
    *("arrive", "arrive", "leave", "leave", "endpoints", "disco", "disco", "derp", "hostinfo", "hostname"),
    *("rename_node", "rename_user", "expire", "expire_later", "expire_later", "unexpire", "unexpire"),
    *("version", "delete", "delete_key", "create_user", "delete_user", "time", "expire_due", "idle"),
    *("answer", "answer", "policy", "policy", "policy", "routes", "routes", "approve", "records", "relays"),
    *("login", "login", "login_tagged", "tag", "authorize", "authorize", "approval", "warn", "restart"),
)


# What sorts of policies differ in for maps; users are 1 to 3, and TAGGED stands for tagged nodes.
POLICIES: Final[tuple[dict[str, Any], ...]] = (
    {"pairs": None, "approving": frozenset({"10.1.0.0/16"})},
    {"pairs": None, "approving": frozenset({"10.1.0.0/16"}), "via_tags": frozenset({"tag:web", "tag:db"})},
    {"pairs": None, "routeless": frozenset({2}), "showing": frozenset({1, 2}), "ssh": frozenset({1})},
    {"pairs": both_ways((1, 1), (2, 2), (TAGGED, 1)), "approving": frozenset({"0.0.0.0/0"})},
    {"pairs": both_ways((1, 2), (TAGGED, TAGGED)), "capable": frozenset({1}), "ssh": frozenset({1, 2})},
    {"pairs": frozenset(), "showing": frozenset({TAGGED})},
    {"pairs": both_ways((1, 1), (1, 2), (1, TAGGED)), "without_ipv4": frozenset({2})},
    {"pairs": None, "without_ipv4": frozenset({1, TAGGED}), "capable": frozenset({1, 2})},
)
STEERING: Final = next(i for i, policy in enumerate(POLICIES) if "via_tags" in policy)
RECORDS: Final = tuple(
    tuple(DNSRecord(f"h{n}.example", f"192.0.2.{n}", "A") for n in range(count)) for count in range(3)
)
RELAYS: Final = tuple(DERPMap(regions={}, omit_default_regions=omit) for omit in (False, True))
ROUTES: Final = ((), ("10.1.0.0/16",), ("10.1.0.0/16", "10.2.0.0/16"), ("0.0.0.0/0", "10.2.0.0/16", "::/0"))


def acts() -> st.SearchStrategy[Act]:
    """Any single act."""
    return st.builds(Act, st.sampled_from(ACTS), st.integers(0, 3), st.integers(0, 3))


def histories(*, size: int = 40) -> st.SearchStrategy[list[Act]]:
    """Anything that may happen, in any order; the first machines usually join."""
    joins = st.lists(st.builds(Act, st.just("join"), st.integers(0, MACHINES - 1)), max_size=MACHINES)
    return st.builds(lambda first, rest: first + rest, joins, st.lists(acts(), max_size=size))


@dataclass
class World:
    """A tailnet that acts are played upon, step by step, with the clock going on."""

    snapshot: Snapshot = field(default_factory=lambda: tailnet(*USERS))
    now: datetime = NOW
    serial: int = 0
    keys: dict[tuple[int, int | None], NodeKey] = field(default_factory=dict)
    refused: int = 0

    def play(self, act: Act) -> Effect[Any] | None:
        """What the act does, applied; None when it was refused or has nothing to act on."""
        self.now += STEP
        self.serial += 1
        step = self._step(act)
        if step is None:
            return None
        try:
            effect = step(self.snapshot, Moment(self.now, lambda sides: self.serial % sides))
        except HeadscaleError:
            self.refused += 1
            return None
        self.snapshot = effect.snapshot
        return effect

    def _step(self, act: Act) -> Step[Any] | None:
        method = getattr(self, f"_{act.kind}")
        node = self._node(act.who)
        step: Step[Any] | None = (
            method(act) if act.kind in _NODELESS else (method(act, node) if node else None)
        )
        return step

    def _node(self, who: int) -> Node | None:
        ids = sorted(self.snapshot.nodes)
        return self.snapshot.nodes[ids[who % len(ids)]] if ids else None

    def _user(self, what: int) -> int | None:
        ids = sorted(self.snapshot.users)
        return ids[what % len(ids)] if ids else None

    def _join(self, act: Act, *, rotate: bool = False, **kind: Any) -> Step[Any] | None:
        machine = act.who % MACHINES
        owner = self._user(act.what)
        if owner is None and "tags" not in kind:
            return None
        drawn = draw_secret(self.serial.to_bytes(38, "little"))

        def step(snapshot: Snapshot, moment: Moment) -> Effect[Any]:
            made = create_key(snapshot, moment, secret=drawn, user_id=owner, **kind)
            wanted = Request(
                machine_key=_machine(machine),
                node_key=self._node_key(machine, None if "tags" in kind else owner, fresh=rotate),
                auth_key=drawn.reveal(),
                hostinfo=Hostinfo(hostname=f"host{machine % 2}"),
                version=142,
            )
            joined = register(made.snapshot, moment, request=wanted)
            return Effect(
                joined.snapshot, joined.result, (*made.writes, *joined.writes), made.touched | joined.touched
            )

        return step

    def _node_key(self, machine: int, owner: int | None, *, fresh: bool) -> NodeKey:
        """A client has a node key for each of its accounts, and keeps it when a node changes sides."""
        nodes = self.snapshot.nodes_on(_machine(machine))
        sides = [node for node in nodes if owner is None or node.tags or node.user_id == owner]
        known = self.keys.get((machine, owner)) or (sides[0].node_key if sides else None)
        holder = self.snapshot.node_by_key.get(known) if known else None
        if fresh or known is None or (holder and self.snapshot.nodes[holder] not in sides):
            known = node_key((machine * 1_000_000 + self.serial).to_bytes(32, "big"))
        self.keys[machine, owner] = known
        return known

    def _join_tagged(self, act: Act) -> Step[Any] | None:
        return self._join(act, rotate=act.what == 0, tags=("tag:web",))

    def _join_ephemeral(self, act: Act) -> Step[Any] | None:
        return self._join(act, ephemeral=True)

    def _rotate(self, act: Act) -> Step[Any] | None:
        return self._join(act, rotate=True)

    def _logout(self, act: Act, node: Node) -> Step[Any]:
        return _asks(node, expiry=LOGOUT)

    def _refresh(self, act: Act, node: Node) -> Step[Any]:
        return _asks(node, expiry=self.now + timedelta(hours=act.what) if act.what else None)

    def _arrive(self, act: Act, node: Node) -> Step[Any]:
        return lambda snapshot, moment: arrive(snapshot, moment, node_id=node.id)

    def _leave(self, act: Act, node: Node) -> Step[Any]:
        return lambda snapshot, moment: leave(snapshot, moment, node_id=node.id)

    def _answer(self, act: Act, node: Node) -> Step[Any]:
        """It answers a probe, or does not."""
        one = frozenset({node.id})
        answered, missed = (one, frozenset[int]()) if act.what % 2 else (frozenset[int](), one)
        return lambda snapshot, moment: asked(snapshot, moment, answered=answered, missed=missed)

    def _endpoints(self, act: Act, node: Node) -> Step[Any]:
        return _tells(node, endpoints=tuple(f"192.0.2.{n}:41641" for n in range(act.what)))

    def _disco(self, act: Act, node: Node) -> Step[Any]:
        return _tells(node, disco_key=_disco(self.serial))

    def _derp(self, act: Act, node: Node) -> Step[Any]:
        net = NetInfo(preferred_derp=act.what)
        return _tells(node, hostinfo=Hostinfo(hostname=node.hostname, net_info=net))

    def _hostinfo(self, act: Act, node: Node) -> Step[Any]:
        hostinfo = Hostinfo(hostname=node.hostname, os=("linux", "macOS")[act.what % 2], distro=str(act.what))
        return _tells(node, hostinfo=hostinfo)

    def _hostname(self, act: Act, node: Node) -> Step[Any]:
        return _tells(node, hostinfo=Hostinfo(hostname=f"host{act.what}"))

    def _version(self, act: Act, node: Node) -> Step[Any]:
        return _tells(node, version=113 + act.what)

    def _rename_node(self, act: Act, node: Node) -> Step[Any]:
        return lambda snapshot, moment: rename_node(
            snapshot, moment, node_id=node.id, name=f"chosen{act.what}"
        )

    def _rename_user(self, act: Act) -> Step[Any] | None:
        user = self._user(act.who)
        if user is None:
            return None
        return lambda snapshot, moment: rename_user(
            snapshot, moment, user_id=user, name=f"renamed{self.serial}"
        )

    def _create_user(self, act: Act) -> Step[Any]:
        return lambda snapshot, moment: create_user(snapshot, moment, name=f"user{act.what}")

    def _delete_user(self, act: Act) -> Step[Any] | None:
        user = self._user(act.who)
        if user is None:
            return None
        return lambda snapshot, moment: delete_user(snapshot, moment, user_id=user)

    def _expire(self, act: Act, node: Node) -> Step[Any]:
        return _ends(node, self.now)

    def _expire_later(self, act: Act, node: Node) -> Step[Any]:
        return _ends(node, self.now + timedelta(minutes=act.what))

    def _unexpire(self, act: Act, node: Node) -> Step[Any]:
        return _ends(node, None)

    def _delete(self, act: Act, node: Node) -> Step[Any]:
        return lambda snapshot, moment: delete_node(snapshot, moment, node_id=node.id)

    def _policy(self, act: Act) -> Step[Any]:
        """Another policy, worked out a moment ago: for the tailnet as the world is then found."""
        which = POLICIES[(act.who * 4 + act.what) % len(POLICIES)]
        prepared = Prepared(f"policy {self.serial}", compiled(self.snapshot, **which))
        origin = PolicyText(id=0, text=prepared.text, created_at=self.now)
        return lambda snapshot, moment: adopt_policy(snapshot, moment, prepared=prepared, origin=origin)

    def _records(self, act: Act) -> Step[Any]:
        return partial(set_extra_records, records=RECORDS[act.what % len(RECORDS)])

    def _relays(self, act: Act) -> Step[Any]:
        return partial(set_derp_map, derp_map=RELAYS[act.what % len(RELAYS)])

    def _routes(self, act: Act, node: Node) -> Step[Any]:
        return _tells(node, hostinfo=Hostinfo(hostname=node.hostname, routable_ips=ROUTES[act.what]))

    def _approve(self, act: Act, node: Node) -> Step[Any]:
        """What an administrator does; here everything that is advertised, or nothing."""

        def step(snapshot: Snapshot, moment: Moment) -> Effect[Any]:
            routes = node.hostinfo.routable_ips if act.what else ()
            changed = replace(snapshot.nodes[node.id], approved_routes=routes)
            after = put_node(snapshot, changed)
            return Effect(after, changed, (Update(changed),), frozenset({node.id}))

        return step

    def _login(self, act: Act, *, tags: tuple[str, ...] = ()) -> Step[Any] | None:
        """Someone vouches for a machine as one of the users; every other time it has a new node key."""
        machine, owner = act.who % MACHINES, self._user(act.what)
        if owner is None:
            return None
        wanted = Request(
            machine_key=_machine(machine),
            node_key=self._node_key(machine, None if tags else owner, fresh=self.serial % 2 == 0),
            hostinfo=Hostinfo(hostname=f"host{machine % 2}", request_tags=tags),
            version=142,
        )
        return lambda snapshot, moment: log_in(
            snapshot,
            moment,
            request=wanted,
            user_id=owner,
            method=RegisterMethod.OIDC,
            vouched=act.what == 0,
        )

    def _login_tagged(self, act: Act) -> Step[Any] | None:
        return self._login(act, tags=TAGS[act.what % 2])

    def _tag(self, act: Act, node: Node) -> Step[Any]:
        return lambda snapshot, moment: set_tags(
            snapshot, moment, node_id=node.id, tags=TAGS[act.what % len(TAGS)]
        )

    def _authorize(self, act: Act, node: Node) -> Step[Any]:
        return lambda snapshot, moment: authorize_node(
            snapshot, moment, node_id=node.id, on=act.what % 2 == 0
        )

    def _approval(self, act: Act) -> Step[Any]:
        return lambda snapshot, moment: set_device_approval(snapshot, moment, on=act.what % 2 == 0)

    def _warn(self, act: Act) -> Step[Any]:
        return mark_ending

    def _restart(self, act: Act) -> Step[Any]:
        """The server goes and comes; some of those who were online stay away."""
        away = frozenset(node_id for node_id in self.snapshot.nodes if node_id % 2 == act.what % 2)
        return lambda snapshot, moment: stay_away(snapshot, moment, node_ids=away)

    def _delete_key(self, act: Act) -> Step[Any] | None:
        keys = sorted(self.snapshot.pre_auth_keys)
        if not keys:
            return None
        chosen = keys[act.who % len(keys)]
        return lambda snapshot, moment: delete_key(snapshot, moment, key_id=chosen)

    def _time(self, act: Act) -> None:
        self.now += timedelta(minutes=10 * act.what)

    def _expire_due(self, act: Act) -> Step[Any]:
        return expire_due

    def _idle(self, act: Act) -> Step[Any]:
        return delete_idle_ephemeral


_NODELESS: Final = frozenset(
    {
        *("join", "join_tagged", "join_ephemeral", "rotate", "rename_user", "create_user", "delete_user"),
        *("delete_key", "time", "expire_due", "idle", "policy", "records", "relays"),
        *("login", "login_tagged", "approval", "warn", "restart"),
    }
)


def steered() -> World:
    """A tailnet whose policy steers to tags, with routers that have them: little of that comes about by chance."""
    world = World()
    world.play(Act("policy", 0, STEERING))  # approves the routes, and knows the tags
    kinds = ("join", "join_tagged", "join_tagged")  # the first is primary, and steered past
    for who, kind in enumerate(kinds):
        world.play(Act(kind, who))
    for who in range(len(kinds)):
        world.play(Act("arrive", who))
        world.play(Act("routes", who, 1))
    world.play(Act("tag", 2, 1))
    return world


def _machine(number: int) -> MachineKey:
    return machine_key((number + 1).to_bytes(32, "big"))


def _disco(number: int) -> DiscoKey:
    return disco_key((number + 9_000_000).to_bytes(32, "big"))


def _asks(node: Node, *, expiry: datetime | None) -> Step[Any]:
    wanted = Request(
        machine_key=node.machine_key,
        node_key=node.node_key,
        expiry=expiry,
        hostinfo=node.hostinfo,
        version=142,
    )
    return lambda snapshot, moment: register(snapshot, moment, request=wanted)


def _tells(node: Node, **fields: Any) -> Step[Any]:
    told = MapRequest(**{"node_key": node.node_key, "version": node.cap_version, **fields})
    return lambda snapshot, moment: report(snapshot, moment, node_id=node.id, request=told)


def _ends(node: Node, expiry: datetime | None) -> Step[Any]:
    return lambda snapshot, moment: expire_node(snapshot, moment, node_id=node.id, expiry=expiry)
