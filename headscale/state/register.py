"""Who becomes which node: every way through POST /machine/register, as one pure step.

In order (shared facts: the client never looks further than the first that applies):

| # | the request | outcome |
|---|---|---|
| 1 | names a node key that another machine holds | Refused, whatever else it carries; the holder is untouched |
| 2 | `Expiry` in the past: logout | ephemeral node deleted, other node expired now; unknown node: nothing |
| 3 | an auth key | `_join` below |
| 4 | a known node whose key has ended | Expired: the client makes a new node key |
| 5 | a known node | as it is; a future `Expiry` may shorten its time, never extend it |
| 6 | anyone else | LoginNeeded |

Joining with an auth key looks for the machine's own earlier node first (same owner, or on either side a
tagged one), so that a machine keeps its number, name and addresses through logout, key rotation and new
keys, and becomes a second node only for another user:

| that machine's node | with the same node key, same owner, not ended | otherwise, or none |
|---|---|---|
| the auth key | must exist, may be used or expired | must be valid; a single-use one is spent |
| the node's expiry | stays | set anew |

(Containers send their key at each start, so the middle column must not ask for a fresh one.)
"""

from dataclasses import dataclass, replace
from datetime import datetime

from headscale.errors import Conflict, Refused
from headscale.keys import ZERO_DISCO_KEY, MachineKey, NodeKey
from headscale.records import (
    Advance,
    Counter,
    Delete,
    Insert,
    Node,
    PreAuthKey,
    RegisterMethod,
    Update,
    Write,
)
from headscale.state.addresses import allocate
from headscale.state.approvals import approved
from headscale.state.credentials import check_valid, claim, recognise
from headscale.state.effect import Effect, Moment
from headscale.state.names import label_of, unique_label
from headscale.state.report import described
from headscale.state.routes import with_plain_routes
from headscale.state.snapshot import Snapshot, drop_node, put_node
from headscale.tailcfg.hostinfo import Hostinfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What decides a registration; `machine_key` is proved by the handshake, the rest is claimed."""

    machine_key: MachineKey
    node_key: NodeKey
    auth_key: str = ""
    expiry: datetime | None = None
    ephemeral: bool = False
    hostinfo: Hostinfo
    version: int = 0


@dataclass(frozen=True, slots=True)
class Registered:
    """The node is in."""

    node: Node


@dataclass(frozen=True, slots=True)
class Expired:
    """The node key has ended, by logout or by time: the client is to make a new one."""


@dataclass(frozen=True, slots=True)
class LoginNeeded:
    """Nobody vouches for this node key yet."""


Outcome = Registered | Expired | LoginNeeded


def register(snapshot: Snapshot, moment: Moment, *, request: Request) -> Effect[Outcome]:
    """Decide a registration; raises Refused or Conflict with a text for the user."""
    holder_id = snapshot.node_by_key.get(request.node_key)
    node = snapshot.node_of(request.node_key, request.machine_key)
    if holder_id is not None and node is None:
        raise Refused("node key already in use by another machine")
    if request.expiry is not None and request.expiry <= moment.now:
        return _logout(snapshot, moment, node)
    if request.auth_key:
        return _join(snapshot, moment, request)
    if node is None:
        return Effect(snapshot, LoginNeeded())
    if node.expired:
        return Effect(snapshot, Expired())
    return _refresh(snapshot, node, request)


def _logout(snapshot: Snapshot, moment: Moment, node: Node | None) -> Effect[Outcome]:
    """Now, not the client's sentinel in 1970, so that no peer ever sees a key that ended before it began."""
    if node is None:
        return Effect(snapshot, Expired())
    touched = frozenset({node.id})
    if node.ephemeral:
        return Effect(drop_node(snapshot, node, moment.now), Expired(), (Delete(node),), touched)
    if node.expired:
        return Effect(snapshot, Expired())
    ended = replace(node, expiry=moment.now, expired=True)
    return Effect(put_node(snapshot, ended), Expired(), (Update(ended),), touched)


def _refresh(snapshot: Snapshot, node: Node, request: Request) -> Effect[Outcome]:
    """A restarted client: nothing changes, unless it asks for less time than it has."""
    if request.expiry is None:
        return Effect(snapshot, Registered(node))
    if node.expiry is not None and request.expiry > node.expiry:
        raise Refused("a node cannot extend its own key: log in again to renew it")
    sooner = replace(node, expiry=request.expiry)
    return Effect(put_node(snapshot, sooner), Registered(sooner), (Update(sooner),), frozenset({node.id}))


def _join(snapshot: Snapshot, moment: Moment, request: Request) -> Effect[Outcome]:
    key = recognise(snapshot, request.auth_key)
    _check_tags(key, request.hostinfo)
    node = _earlier_node(snapshot, request.machine_key, key)
    if node is not None and _is_same_again(node, request, key):
        again = described(snapshot, node, request.hostinfo)
        return _stored(snapshot, node, again, ())
    check_valid(key, moment.now)
    if node is None and request.node_key in snapshot.node_by_key:
        # Another user's node of this machine has the key: the client makes a new one and comes back with it.
        return Effect(snapshot, Expired())
    claimed, spent = claim(snapshot, key)
    if node is None:
        return _admit(claimed, moment, request, key, spent)
    renewed = replace(
        described(claimed, node, request.hostinfo),
        node_key=request.node_key,
        user_id=None if key.tags else key.user_id,
        tags=key.tags,
        ephemeral=key.ephemeral or request.ephemeral,
        register_method=RegisterMethod.AUTH_KEY,
        auth_key_id=key.id,
        expiry=_expiry(claimed, moment, request, key),
        expired=False,
        cap_version=request.version,
    )
    return _stored(claimed, node, renewed, spent)


def _stored(snapshot: Snapshot, old: Node, new: Node, more: tuple[Write, ...]) -> Effect[Outcome]:
    new = approved(snapshot.policy, new)
    if new == old:
        return Effect(snapshot, Registered(old), more)
    return Effect(put_node(snapshot, new), Registered(new), (Update(new), *more), frozenset({new.id}))


def _admit(
    snapshot: Snapshot, moment: Moment, request: Request, key: PreAuthKey, spent: tuple[Write, ...]
) -> Effect[Outcome]:
    """A machine's first node under this owner."""
    owner = None if key.tags else key.user_id
    pools = snapshot.policy.pools_of(key.tags if owner is None else owner)
    ipv4, ipv6 = allocate(snapshot, moment, pools=pools)
    hostname = request.hostinfo.hostname
    node = Node(
        id=snapshot.last_node_id + 1,
        machine_key=request.machine_key,
        node_key=request.node_key,
        disco_key=ZERO_DISCO_KEY,
        hostname=hostname,
        given_name=unique_label(label_of(hostname), snapshot.node_by_name),
        ipv4=ipv4,
        ipv6=ipv6,
        user_id=owner,
        tags=key.tags,
        hostinfo=with_plain_routes(request.hostinfo),
        ephemeral=key.ephemeral or request.ephemeral,
        auth_key_id=key.id,
        expiry=_expiry(snapshot, moment, request, key),
        last_seen=moment.now,
        created_at=moment.now,
        cap_version=request.version,
    )
    node = approved(snapshot.policy, node)
    # What came from a pool says nothing of where the others go on.
    last_ipv4 = snapshot.last_ipv4 if pools else ipv4
    after = replace(put_node(snapshot, node), last_ipv4=last_ipv4, last_ipv6=ipv6)
    writes = (Insert(node), Advance(Counter.NODE, node.id), *spent)
    return Effect(after, Registered(node), writes, frozenset({node.id}))


def _earlier_node(snapshot: Snapshot, machine_key: MachineKey, key: PreAuthKey) -> Node | None:
    """The machine's node that this key renews: of the same owner, else one that changes sides with it."""
    nodes = snapshot.nodes_on(machine_key)
    tagged = [node for node in nodes if node.tags]
    if not key.tags:
        own = [node for node in nodes if node.user_id == key.user_id and not node.tags]
        return next(iter(own or tagged), None)
    if tagged:
        return tagged[0]
    if len(nodes) > 1:
        raise Conflict(
            "this machine has nodes of several users, and a tagged key would have to take one of them over: "
            "delete those that are not needed"
        )
    return next(iter(nodes), None)


def _is_same_again(node: Node, request: Request, key: PreAuthKey) -> bool:
    same_owner = bool(node.tags) == bool(key.tags)
    return node.node_key == request.node_key and not node.expired and same_owner


def _check_tags(key: PreAuthKey, hostinfo: Hostinfo) -> None:
    """A key gives the tags that it carries; a client that asks for others is told so."""
    extra = sorted(set(hostinfo.request_tags) - set(key.tags))
    if extra:
        raise Refused(
            f"requested tags {', '.join(extra)} are invalid or not permitted: "
            "a node that joins with a pre-auth key gets the key's tags"
        )


def _expiry(snapshot: Snapshot, moment: Moment, request: Request, key: PreAuthKey) -> datetime | None:
    """Tagged nodes do not expire; others when the client asks, else as the tailnet is set up."""
    if key.tags:
        return None
    if request.expiry is not None:
        return request.expiry
    default = snapshot.settings.node_expiry
    return moment.now + default if default is not None else None
