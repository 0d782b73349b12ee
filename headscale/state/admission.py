"""What all ways into the tailnet share: what was asked, how it can end, and how a node is made or renewed.

The ways themselves: `register` (who is let through at once), `join` (with a pre-auth key), `login` (someone vouched).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from headscale.keys import ZERO_DISCO_KEY, ZERO_NODE_KEY, MachineKey, NodeKey
from headscale.records import Advance, Counter, Insert, Node, RegisterMethod, Update, Write
from headscale.state.addresses import allocate
from headscale.state.approvals import approved
from headscale.state.effect import Effect, Moment
from headscale.state.names import label_of, unique_label
from headscale.state.report import described
from headscale.state.routes import with_plain_routes
from headscale.state.snapshot import Snapshot, put_node
from headscale.tailcfg.hostinfo import Hostinfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What decides a registration; `machine_key` is proved by the handshake, the rest is claimed.

    `tailnet` is a name that the client insists on; empty for none.
    """

    machine_key: MachineKey
    node_key: NodeKey
    old_node_key: NodeKey = ZERO_NODE_KEY
    auth_key: str = ""
    expiry: datetime | None = None
    ephemeral: bool = False
    hostinfo: Hostinfo
    version: int = 0
    tailnet: str = ""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a node is in: whose it is, how it came, and whether an administrator still has to agree.

    Either `user_id` owns it, or `tags` do.
    """

    user_id: int | None
    tags: tuple[str, ...]
    method: RegisterMethod
    ephemeral: bool
    authorized: bool
    auth_key_id: int | None = None


def admit(
    snapshot: Snapshot, moment: Moment, request: Request, terms: Terms, *, spent: Iterable[Write] = ()
) -> Effect[Outcome]:
    """A machine's first node under this owner; raises Unavailable when there is no address left."""
    pools = snapshot.policy.pools_of(terms.tags if terms.user_id is None else terms.user_id)
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
        user_id=terms.user_id,
        tags=terms.tags,
        hostinfo=with_plain_routes(request.hostinfo),
        ephemeral=terms.ephemeral,
        authorized=terms.authorized,
        register_method=terms.method,
        auth_key_id=terms.auth_key_id,
        expiry=expiry_of(snapshot, moment, request, terms),
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


def renew(
    snapshot: Snapshot,
    moment: Moment,
    node: Node,
    request: Request,
    terms: Terms,
    *,
    spent: Iterable[Write] = (),
) -> Effect[Outcome]:
    """The machine's own node again: number, name and addresses stay, key, owner and time are new.

    Who was let in once is not asked about again, unless the terms say that somebody vouches now.
    """
    renewed = replace(
        described(snapshot, node, request.hostinfo),
        node_key=request.node_key,
        user_id=terms.user_id,
        tags=terms.tags,
        ephemeral=terms.ephemeral,
        authorized=node.authorized or terms.authorized,
        register_method=terms.method,
        auth_key_id=terms.auth_key_id,
        expiry=expiry_of(snapshot, moment, request, terms),
        expired=False,
        cap_version=request.version,
    )
    return stored(snapshot, node, renewed, spent)


def stored(snapshot: Snapshot, old: Node, new: Node, more: Iterable[Write] = ()) -> Effect[Outcome]:
    """The node as it is now, with routes that approve themselves; nothing to write when it is as it was."""
    new = approved(snapshot.policy, new)
    if new == old:
        return Effect(snapshot, Registered(old), tuple(more))
    return Effect(put_node(snapshot, new), Registered(new), (Update(new), *more), frozenset({new.id}))


def expiry_of(snapshot: Snapshot, moment: Moment, request: Request, terms: Terms) -> datetime | None:
    """Tagged nodes do not expire; others when the client asks, else as the tailnet is set up."""
    if terms.tags:
        return None
    if request.expiry is not None:
        return request.expiry
    default = snapshot.settings.node_expiry
    return moment.now + default if default is not None else None
