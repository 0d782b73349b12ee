"""What of the peer's records is new here, under which ids, and what would clash with ours.

Who is who is told by what does not change: a user by identity, or by name among local ones; a key by its prefix; a node
by its machine and owner, or its machine and id. Who is here already is left as it is, so that a second import of the
same database changes nothing. A new record keeps its id when that is free, and else gets the next one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from headscale.errors import Unavailable
from headscale.peer.report import Ledger
from headscale.peer.rows import Row
from headscale.peer.takeover import Found
from headscale.peer.unique import Taken
from headscale.records import (
    Advance,
    ApiKey,
    Counter,
    Insert,
    Node,
    PolicyText,
    PreAuthKey,
    TailnetSettings,
    User,
    Write,
)
from headscale.state.addresses import allocate
from headscale.state.effect import Moment
from headscale.state.restore import restore
from headscale.tailcfg.derpmap import DERPMap

R = TypeVar("R", User, Node, PreAuthKey, ApiKey, PolicyText)
_NOWHERE: Final = DERPMap(regions={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """What is here: records, the last ids that were handed out, and every policy that was ever set."""

    users: tuple[User, ...] = ()
    pre_auth_keys: tuple[PreAuthKey, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()
    nodes: tuple[Node, ...] = ()
    policies: tuple[PolicyText, ...] = ()
    last_ids: Mapping[Counter, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The new records. `node_rows` and `key_rows` lead from the peer's ids to rows whose fate is known."""

    users: tuple[User, ...]
    pre_auth_keys: tuple[PreAuthKey, ...]
    api_keys: tuple[ApiKey, ...]
    nodes: tuple[Node, ...]
    policies: tuple[PolicyText, ...]
    node_rows: Mapping[int, Row]
    key_rows: Mapping[int, Row]

    def writes(self, last_ids: Mapping[Counter, int]) -> tuple[Write, ...]:
        """One transaction: what others refer to stands before them, and no counter goes back."""
        advances: dict[Counter, tuple[User | PreAuthKey | ApiKey | Node | PolicyText, ...]] = {
            Counter.USER: self.users,
            Counter.PRE_AUTH_KEY: self.pre_auth_keys,
            Counter.API_KEY: self.api_keys,
            Counter.NODE: self.nodes,
            Counter.POLICY: self.policies,
        }
        inserts = [Insert(record) for records in advances.values() for record in records]
        lasts = [
            Advance(counter, max(record.id for record in records))
            for counter, records in advances.items()
            if records and max(record.id for record in records) > last_ids.get(counter, 0)
        ]
        return (*inserts, *lasts)


class _Ids:
    """Hands out the peer's ids where they are free, and beyond them all where they are not."""

    def __init__(self, ours: Iterable[int], theirs: Iterable[int], last: int) -> None:
        self._used = set(ours)
        self._next = max([last, *self._used, *theirs], default=0) + 1

    def take(self, row: Row, wanted: int, ledger: Ledger) -> int:
        """An id for a new record."""
        given = wanted
        if wanted in self._used:
            given, self._next = self._next, self._next + 1
            ledger.repaired(row, f"its id is another one's here: it becomes {given}")
        self._used.add(given)
        return given


def merge(found: Found, ours: Ours, ledger: Ledger, moment: Moment, settings: TailnetSettings) -> Merged:
    """Tell what is new. Every row has its fate afterwards; when the ledger has clashes, nothing may be written."""
    users, user_ids = _users(found, ours, ledger)
    keys, key_ids, key_rows = _pre_auth_keys(found, ours, user_ids, ledger)
    api_keys = _api_keys(found, ours, ledger)
    nodes, node_rows = _nodes(found, ours, user_ids, key_ids, ledger)
    _note_outside(nodes, settings, ledger)
    return Merged(
        users=users,
        pre_auth_keys=keys,
        api_keys=api_keys,
        nodes=() if ledger.clashes else _addressed(nodes, users, ours, ledger, moment, settings),
        policies=_policies(found, ours, ledger),
        node_rows=node_rows,
        key_rows=key_rows,
    )


def _users(found: Found, ours: Ours, ledger: Ledger) -> tuple[tuple[User, ...], dict[int, int]]:
    """The new users, and who each of the peer's ids is here."""
    by_identity = {u.provider_identifier: u.id for u in ours.users if u.provider_identifier is not None}
    by_name = {u.name: u.id for u in ours.users if u.provider_identifier is None}
    ids = _ids(ours.users, (user.id for _, user in found.people.users), ours, Counter.USER)
    new: list[User] = []
    here: dict[int, int] = {}
    for row, user in found.people.users:
        known = by_name.get(user.name)
        if user.provider_identifier is not None:
            known = by_identity.get(user.provider_identifier)
        if known is not None:
            ledger.was_there(row)
            here[user.id] = known
            continue
        ledger.came_in(row)
        here[user.id] = ids.take(row, user.id, ledger)
        new.append(replace(user, id=here[user.id]))
    return tuple(new), {theirs: here[same] for theirs, same in found.people.same_as.items()}


def _pre_auth_keys(
    found: Found, ours: Ours, user_ids: Mapping[int, int], ledger: Ledger
) -> tuple[tuple[PreAuthKey, ...], dict[int, int], dict[int, Row]]:
    by_prefix = {key.prefix: key.id for key in ours.pre_auth_keys}
    ids = _ids(ours.pre_auth_keys, (key.id for _, key in found.pre_auth_keys), ours, Counter.PRE_AUTH_KEY)
    new: list[PreAuthKey] = []
    here: dict[int, int] = {}
    rows: dict[int, Row] = {}
    for row, key in found.pre_auth_keys:
        rows[key.id] = row
        if key.prefix in by_prefix:
            ledger.was_there(row)
            here[key.id] = by_prefix[key.prefix]
            continue
        ledger.came_in(row)
        here[key.id] = ids.take(row, key.id, ledger)
        owner = user_ids[key.user_id] if key.user_id is not None else None
        new.append(replace(key, id=here[key.id], user_id=owner))
    return tuple(new), here, rows


def _api_keys(found: Found, ours: Ours, ledger: Ledger) -> tuple[ApiKey, ...]:
    prefixes = {key.prefix for key in ours.api_keys}
    ids = _ids(ours.api_keys, (key.id for _, key in found.api_keys), ours, Counter.API_KEY)
    new = []
    for row, key in found.api_keys:
        if key.prefix in prefixes:
            ledger.was_there(row)
            continue
        ledger.came_in(row)
        new.append(replace(key, id=ids.take(row, key.id, ledger)))
    return tuple(new)


def _nodes(
    found: Found, ours: Ours, user_ids: Mapping[int, int], key_ids: Mapping[int, int], ledger: Ledger
) -> tuple[list[Taken], dict[int, Row]]:
    """The new nodes with ours as owners and keys."""
    machines: dict[str, list[Node]] = {}
    for node in ours.nodes:
        machines.setdefault(node.machine_key, []).append(node)
    holders = _Holders(ours.nodes)
    ids = _ids(ours.nodes, (taken.node.id for taken in found.nodes), ours, Counter.NODE)
    new: list[Taken] = []
    rows: dict[int, Row] = {}
    for taken in found.nodes:
        node = taken.node
        rows[node.id] = taken.row
        owner = user_ids[node.user_id] if node.user_id is not None else None
        same_machine = machines.get(node.machine_key, [])
        if any(owner == other.user_id or node.id == other.id for other in same_machine):
            ledger.was_there(taken.row)
            continue
        ledger.came_in(taken.row)
        if clash := holders.clash(node):
            ledger.clash(taken.row, clash)
            continue
        renewed = replace(
            node,
            id=ids.take(taken.row, node.id, ledger),
            user_id=owner,
            auth_key_id=key_ids[node.auth_key_id] if node.auth_key_id is not None else None,
        )
        new.append(replace(taken, node=renewed))
    return new, rows


class _Holders:
    """Which of our nodes has what a new one may not have too."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes: dict[object, Node] = {}
        for node in nodes:
            for thing in (node.node_key, ("name", node.given_name), *node.addresses):
                self._nodes[thing] = node

    def clash(self, node: Node) -> str:
        """What clashes, in words; empty for nothing."""
        for name, thing in (
            ("node key", node.node_key),
            (f"name {node.given_name!r}", ("name", node.given_name)),
            *((f"address {address}", address) for address in node.addresses),
        ):
            if held := self._nodes.get(thing):
                return f"its {name} is that of node {held.id} ({held.given_name}) here"
        return ""


def _addressed(
    nodes: list[Taken],
    users: tuple[User, ...],
    ours: Ours,
    ledger: Ledger,
    moment: Moment,
    settings: TailnetSettings,
) -> tuple[Node, ...]:
    """The new nodes, with fresh addresses for those that lost theirs."""
    lacking = [taken for taken in nodes if taken.lost]
    if not lacking:
        return tuple(taken.node for taken in nodes)
    found = {taken.node.id: taken.node for taken in nodes}
    snapshot = restore(
        settings=settings,
        derp_map=_NOWHERE,
        users=(*ours.users, *users),
        pre_auth_keys=(),
        nodes=(*ours.nodes, *found.values()),
        last_ids=ours.last_ids,
        now=moment.now,
    )
    for taken in lacking:
        try:
            ipv4, ipv6 = allocate(snapshot, moment)
        except Unavailable as problem:
            ledger.noted(taken.row, f"it gets no new address: {problem}")
            continue
        node = found[taken.node.id]
        node = replace(
            node,
            ipv4=ipv4 if 4 in taken.lost and node.ipv4 is None else node.ipv4,
            ipv6=ipv6 if 6 in taken.lost and node.ipv6 is None else node.ipv6,
        )
        found[node.id] = node
        by_address = snapshot.node_by_address
        for address in node.addresses:
            by_address = by_address.set(address, node.id)
        snapshot = replace(
            snapshot, node_by_address=by_address, last_ipv4=ipv4 or snapshot.last_ipv4, last_ipv6=ipv6
        )
        ledger.noted(taken.row, f"its new addresses: {', '.join(map(str, node.addresses)) or 'none'}")
    return tuple(found.values())


def _note_outside(nodes: Iterable[Taken], settings: TailnetSettings, ledger: Ledger) -> None:
    prefixes = {4: settings.prefix_v4, 6: settings.prefix_v6}
    for taken in nodes:
        for address in taken.node.addresses:
            prefix = prefixes[address.version]
            if prefix is None or address not in prefix:
                configured = f"prefixes.v{address.version} ({prefix or 'none'})"
                ledger.noted(taken.row, f"its address {address} is outside {configured}: it keeps it")


def _policies(found: Found, ours: Ours, ledger: Ledger) -> tuple[PolicyText, ...]:
    if found.policy is None:
        return ()
    row, policy = found.policy
    if any(known.text == policy.text for known in ours.policies):
        ledger.was_there(row)
        return ()
    ledger.came_in(row)
    if ours.policies:
        ledger.clash(row, "another policy is set here: leave the peer's out with --no-policy")
        return ()
    last = ours.last_ids.get(Counter.POLICY, 0)
    return (policy if policy.id > last else replace(policy, id=last + 1),)


def _ids(records: Iterable[R], theirs: Iterable[int], ours: Ours, counter: Counter) -> _Ids:
    return _Ids((record.id for record in records), theirs, ours.last_ids.get(counter, 0))


def drop_policy(found: Found, ledger: Ledger) -> Found:
    """What was found, without its policy."""
    if found.policy is not None:
        ledger.left_out(found.policy[0], "--no-policy leaves it out")
    return replace(found, policy=None)
