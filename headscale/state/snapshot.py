"""The tailnet at one moment: records with the indexes that questions need.

A snapshot never changes; a step derives the next one. Maps are persistent (HAMT), so deriving one costs the
logarithm of what is there, and an old one that a slow stream still compares with shares almost all of it.

What follows from records is kept in step by the functions that put and drop them: the indexes, the policy as it works
out for these nodes and users, and who is primary for which route.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from immutables import Map

from headscale.keys import MachineKey, NodeKey
from headscale.policy.compiled import Compiled, compile_policy
from headscale.policy.subjects import EXIT_ROUTES, Network, Person
from headscale.records import (
    NO_PREFERENCES,
    AccessToken,
    Address,
    ApiKey,
    Node,
    OAuthClient,
    PolicyText,
    PreAuthKey,
    Preferences,
    TailnetSettings,
    User,
    Webhook,
)
from headscale.state.routes import Favourite, elect, in_force, standing_of
from headscale.state.subjects import admitted, is_same_subject, person_of
from headscale.tailcfg.derpmap import DERPMap
from headscale.tailcfg.dns import DNSRecord

LONG_AGO: Final = datetime(1, 1, 1, tzinfo=UTC)
NO_POLICY: Final = compile_policy(None, people={}, subjects=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All of it. `epoch` grows with every published change; `started_at` is when this process began.

    `policy_epoch` grows when the policy says something else for nodes that did not change themselves: another
    text, or other users. `policy_problem` is why the policy in force is not the one that was set last; empty
    when it is. `gateways` are the nodes with any route in force; `routers` has them by subnet route, `primaries` who
    of those is primary, and `favourites` who of those with a tag serves whom the policy steers there. `silent` are
    the nodes that are online and did not answer when they were asked last. `extra_records` are the operator's DNS
    records of this moment.
    `configured` are the operator's settings, and `settings` those in force (state/settings.py).
    """

    settings: TailnetSettings
    configured: TailnetSettings
    derp_map: DERPMap
    extra_records: tuple[DNSRecord, ...] = ()
    epoch: int = 0
    started_at: datetime = LONG_AGO
    preferences: Preferences = NO_PREFERENCES
    policy: Compiled = NO_POLICY
    policy_text: PolicyText | None = None
    policy_epoch: int = 0
    policy_problem: str = ""
    gateways: frozenset[int] = frozenset()
    routers: Map[Network, frozenset[int]] = field(default_factory=Map)
    primaries: Map[Network, int] = field(default_factory=Map)
    favourites: Map[tuple[Network, str], Favourite] = field(default_factory=Map)
    silent: frozenset[int] = frozenset()
    users: Map[int, User] = field(default_factory=Map)
    nodes: Map[int, Node] = field(default_factory=Map)
    pre_auth_keys: Map[int, PreAuthKey] = field(default_factory=Map)
    api_keys: Map[int, ApiKey] = field(default_factory=Map)
    webhooks: Map[int, Webhook] = field(default_factory=Map)
    oauth_clients: Map[int, OAuthClient] = field(default_factory=Map)
    access_tokens: Map[int, AccessToken] = field(default_factory=Map)
    node_by_key: Map[NodeKey, int] = field(default_factory=Map)
    nodes_by_machine: Map[MachineKey, frozenset[int]] = field(default_factory=Map)
    node_by_name: Map[str, int] = field(default_factory=Map)
    node_by_address: Map[Address, int] = field(default_factory=Map)
    key_by_prefix: Map[str, int] = field(default_factory=Map)
    api_key_by_prefix: Map[str, int] = field(default_factory=Map)
    client_by_prefix: Map[str, int] = field(default_factory=Map)
    token_by_prefix: Map[str, int] = field(default_factory=Map)
    released: Map[Address, datetime] = field(default_factory=Map)
    last_ipv4: IPv4Address | None = None
    last_ipv6: IPv6Address | None = None
    last_user_id: int = 0
    last_node_id: int = 0
    last_key_id: int = 0
    last_policy_id: int = 0
    last_audit_id: int = 0
    last_api_key_id: int = 0
    last_webhook_id: int = 0
    last_client_id: int = 0
    last_token_id: int = 0

    @property
    def needs_approval(self) -> bool:
        """Whether a new node waits until an administrator lets it in."""
        decided = self.settings.device_approval
        return self.preferences.device_approval if decided is None else decided

    def node_of(self, node_key: NodeKey, machine_key: MachineKey) -> Node | None:
        """The node with this node key on this machine; there is no other way from a request to a node."""
        node_id = self.node_by_key.get(node_key)
        if node_id is None:
            return None
        node = self.nodes[node_id]
        return node if node.machine_key == machine_key else None

    def nodes_on(self, machine_key: MachineKey) -> list[Node]:
        """Every node of a machine (one a user, or a tagged one), oldest first."""
        return [self.nodes[i] for i in sorted(self.nodes_by_machine.get(machine_key, frozenset()))]

    def nodes_owned_by(self, user_id: int) -> list[Node]:
        """The user's own nodes by id; tagged ones are nobody's."""
        return sorted((n for n in self.nodes.values() if n.user_id == user_id), key=lambda n: n.id)


def put_node(snapshot: Snapshot, node: Node) -> Snapshot:
    """The snapshot with this node new or in place of its older self."""
    old = snapshot.nodes.get(node.id)
    after = put_record(snapshot, node)
    if old is None or not is_same_subject(old, node):
        subject = admitted(node)
        was = admitted(old) if old is not None else None
        if subject != was:
            policy = after.policy.updated([subject]) if subject else after.policy.updated((), [node.id])
            return _rerouted(
                replace(after, policy=policy),
                node.id,
                old=was.routes if was else (),
                new=subject.routes if subject else (),
            )
    elif old.online != node.online and node.id in snapshot.gateways:
        return _elected(after, in_force(node))
    return after


def put_record(snapshot: Snapshot, node: Node) -> Snapshot:
    """As `put_node`, for a caller that tells the policy of many nodes at once: `with_subjects`."""
    old = snapshot.nodes.get(node.id)
    if old is None or _indexed(old) != _indexed(node):
        snapshot = _index(_unindex(snapshot, old) if old else snapshot, node)
    return replace(
        snapshot,
        nodes=snapshot.nodes.set(node.id, node),
        silent=snapshot.silent if node.online else snapshot.silent - {node.id},
        last_node_id=max(snapshot.last_node_id, node.id),
    )


def drop_node(snapshot: Snapshot, node: Node, now: datetime) -> Snapshot:
    """The snapshot without this node; its addresses rest from now on."""
    released = snapshot.released
    for address in node.addresses:
        released = released.set(address, now)
    known = admitted(node)
    after = replace(
        _unindex(snapshot, node),
        nodes=snapshot.nodes.delete(node.id),
        silent=snapshot.silent - {node.id},
        policy=snapshot.policy.updated((), [node.id]) if known else snapshot.policy,
        released=released,
    )
    return _rerouted(after, node.id, old=known.routes if known else (), new=())


def put_user(snapshot: Snapshot, user: User) -> Snapshot:
    """The snapshot with this user new or changed."""
    after = replace(
        snapshot,
        users=snapshot.users.set(user.id, user),
        last_user_id=max(snapshot.last_user_id, user.id),
    )
    person = person_of(snapshot.settings, user)
    if snapshot.policy.people.get(user.id) == person:
        return after
    return _with_people(after, {**snapshot.policy.people, user.id: person})


def drop_user(snapshot: Snapshot, user: User) -> Snapshot:
    """The snapshot without this user, who has no nodes."""
    people = {i: person for i, person in snapshot.policy.people.items() if i != user.id}
    return _with_people(replace(snapshot, users=snapshot.users.delete(user.id)), people)


def put_key(snapshot: Snapshot, key: PreAuthKey) -> Snapshot:
    """The snapshot with this pre-auth key new or changed; a prefix never changes."""
    return replace(
        snapshot,
        pre_auth_keys=snapshot.pre_auth_keys.set(key.id, key),
        key_by_prefix=snapshot.key_by_prefix.set(key.prefix, key.id),
        last_key_id=max(snapshot.last_key_id, key.id),
    )


def drop_key(snapshot: Snapshot, key: PreAuthKey) -> Snapshot:
    """The snapshot without this pre-auth key."""
    return replace(
        snapshot,
        pre_auth_keys=snapshot.pre_auth_keys.delete(key.id),
        key_by_prefix=snapshot.key_by_prefix.delete(key.prefix),
    )


def put_api_key(snapshot: Snapshot, key: ApiKey) -> Snapshot:
    """The snapshot with this API key new or changed; a prefix never changes."""
    return replace(
        snapshot,
        api_keys=snapshot.api_keys.set(key.id, key),
        api_key_by_prefix=snapshot.api_key_by_prefix.set(key.prefix, key.id),
        last_api_key_id=max(snapshot.last_api_key_id, key.id),
    )


def drop_api_key(snapshot: Snapshot, key: ApiKey) -> Snapshot:
    """The snapshot without this API key."""
    return replace(
        snapshot,
        api_keys=snapshot.api_keys.delete(key.id),
        api_key_by_prefix=snapshot.api_key_by_prefix.delete(key.prefix),
    )


def put_client(snapshot: Snapshot, client: OAuthClient) -> Snapshot:
    """The snapshot with this OAuth client new or changed; a prefix never changes."""
    return replace(
        snapshot,
        oauth_clients=snapshot.oauth_clients.set(client.id, client),
        client_by_prefix=snapshot.client_by_prefix.set(client.prefix, client.id),
        last_client_id=max(snapshot.last_client_id, client.id),
    )


def drop_client(snapshot: Snapshot, client: OAuthClient) -> Snapshot:
    """The snapshot without this OAuth client, which has no tokens."""
    return replace(
        snapshot,
        oauth_clients=snapshot.oauth_clients.delete(client.id),
        client_by_prefix=snapshot.client_by_prefix.delete(client.prefix),
    )


def put_token(snapshot: Snapshot, token: AccessToken) -> Snapshot:
    """The snapshot with this access token new; a token never changes."""
    return replace(
        snapshot,
        access_tokens=snapshot.access_tokens.set(token.id, token),
        token_by_prefix=snapshot.token_by_prefix.set(token.prefix, token.id),
        last_token_id=max(snapshot.last_token_id, token.id),
    )


def drop_token(snapshot: Snapshot, token: AccessToken) -> Snapshot:
    """The snapshot without this access token."""
    return replace(
        snapshot,
        access_tokens=snapshot.access_tokens.delete(token.id),
        token_by_prefix=snapshot.token_by_prefix.delete(token.prefix),
    )


def with_subjects(snapshot: Snapshot) -> Snapshot:
    """The snapshot whose policy is worked out anew for all users and nodes; without one, as at a start.

    Who is primary of a route stays so while no other router of it stands better. With nobody online and nobody elected
    it goes to the lowest number: clients that are back before their router should not lose their way to it.
    """
    policy = compile_policy(
        None,
        people=_people(snapshot),
        subjects=[subject for node in snapshot.nodes.values() if (subject := admitted(node))],
    )
    routers: dict[Network, frozenset[int]] = {}
    for subject in policy.subjects.values():
        for route in _subnets(subject.routes):
            routers[route] = routers.get(route, frozenset()) | {subject.id}
    nodes = snapshot.nodes
    primaries = {
        route: elect((nodes[i] for i in ids), snapshot.primaries.get(route)) or min(ids)
        for route, ids in routers.items()
    }
    return with_favourites(
        replace(
            snapshot,
            policy=policy,
            gateways=frozenset(subject.id for subject in policy.subjects.values() if subject.routes),
            routers=Map(routers),
            primaries=Map(primaries),
            favourites=Map(),
            silent=frozenset(),
        )
    )


def with_favourites(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the routers to which the policy of now steers; those who serve stay."""
    tags = snapshot.policy.via_tags
    kept = {key: known for key, known in snapshot.favourites.items() if key[1] in tags}
    after = snapshot if len(kept) == len(snapshot.favourites) else replace(snapshot, favourites=Map(kept))
    return _elected(after, after.routers) if tags else after


def with_silent(snapshot: Snapshot, silent: frozenset[int]) -> Snapshot:
    """The snapshot after these nodes, and no others, did not answer."""
    changed = silent ^ snapshot.silent
    if not changed:
        return snapshot
    concerned = {route for i in changed & snapshot.gateways for route in in_force(snapshot.nodes[i])}
    return _elected(replace(snapshot, silent=silent), concerned)


def with_people_again(snapshot: Snapshot) -> Snapshot:
    """The snapshot whose policy knows its users as the settings of now have them known."""
    people = _people(snapshot)
    return snapshot if people == dict(snapshot.policy.people) else _with_people(snapshot, people)


def _people(snapshot: Snapshot) -> dict[int, Person]:
    return {user.id: person_of(snapshot.settings, user) for user in snapshot.users.values()}


def _with_people(snapshot: Snapshot, people: Mapping[int, Person]) -> Snapshot:
    policy = snapshot.policy.with_people(people)
    decides = policy.document is not None  # without a policy it does not matter who somebody is
    return replace(snapshot, policy=policy, policy_epoch=snapshot.policy_epoch + (1 if decides else 0))


def _rerouted(
    snapshot: Snapshot, node_id: int, *, old: tuple[Network, ...], new: tuple[Network, ...]
) -> Snapshot:
    """The snapshot after the routes in force of this node were `old` and are `new`."""
    if not old and not new:
        return snapshot
    gateways = snapshot.gateways | {node_id} if new else snapshot.gateways - {node_id}
    before, after = frozenset(_subnets(old)), frozenset(_subnets(new))
    routers = snapshot.routers
    for route in after - before:
        routers = routers.set(route, routers.get(route, frozenset()) | {node_id})
    for route in before - after:
        rest = routers[route] - {node_id}
        routers = routers.set(route, rest) if rest else routers.delete(route)
    return _elected(replace(snapshot, gateways=gateways, routers=routers), before | after)


def _elected(snapshot: Snapshot, routes: Iterable[Network]) -> Snapshot:
    """The snapshot with the present primaries and favourites of these routes."""
    primaries, favourites = snapshot.primaries, snapshot.favourites
    tags = snapshot.policy.via_tags
    for route in _subnets(routes):
        current = primaries.get(route)
        candidates = [snapshot.nodes[i] for i in sorted(snapshot.routers.get(route, ()))]
        elected = elect(candidates, current, snapshot.silent)
        if elected is None:
            primaries = primaries.delete(route) if current is not None else primaries
        elif elected != current:
            primaries = primaries.set(route, elected)
        for tag in tags:
            favourites = _favoured(snapshot, favourites, (route, tag), candidates)
    if primaries is snapshot.primaries and favourites is snapshot.favourites:
        return snapshot
    return replace(snapshot, primaries=primaries, favourites=favourites)


def _favoured(
    snapshot: Snapshot,
    favourites: Map[tuple[Network, str], Favourite],
    key: tuple[Network, str],
    candidates: list[Node],
) -> Map[tuple[Network, str], Favourite]:
    known = favourites.get(key)
    tagged = [node for node in candidates if key[1] in node.tags]
    elected = elect(tagged, known.node_id if known else None, snapshot.silent)
    if (
        elected is None and tagged
    ):  # nobody is online, and nobody was before: the oldest, as who is primary at a start
        elected = tagged[0].id
    if elected is None:
        return favourites.delete(key) if known else favourites
    standing = standing_of(snapshot.nodes[elected], snapshot.silent)
    if known and (known.node_id, known.standing) == (elected, standing):
        return favourites
    return favourites.set(key, Favourite(standing, snapshot.epoch, elected))


def _subnets(routes: Iterable[Network]) -> Iterable[Network]:
    return (route for route in routes if route not in EXIT_ROUTES)


def _indexed(node: Node) -> tuple[object, ...]:
    return (node.node_key, node.machine_key, node.given_name, node.ipv4, node.ipv6)


def _index(snapshot: Snapshot, node: Node) -> Snapshot:
    machine = snapshot.nodes_by_machine.get(node.machine_key, frozenset())
    addresses = snapshot.node_by_address
    for address in node.addresses:
        addresses = addresses.set(address, node.id)
    return replace(
        snapshot,
        node_by_key=snapshot.node_by_key.set(node.node_key, node.id),
        nodes_by_machine=snapshot.nodes_by_machine.set(node.machine_key, machine | {node.id}),
        node_by_name=snapshot.node_by_name.set(node.given_name, node.id),
        node_by_address=addresses,
    )


def _unindex(snapshot: Snapshot, node: Node) -> Snapshot:
    rest = snapshot.nodes_by_machine[node.machine_key] - {node.id}
    by_machine = snapshot.nodes_by_machine
    addresses = snapshot.node_by_address
    for address in node.addresses:
        addresses = addresses.delete(address)
    return replace(
        snapshot,
        node_by_key=snapshot.node_by_key.delete(node.node_key),
        nodes_by_machine=by_machine.set(node.machine_key, rest)
        if rest
        else by_machine.delete(node.machine_key),
        node_by_name=snapshot.node_by_name.delete(node.given_name),
        node_by_address=addresses,
    )
