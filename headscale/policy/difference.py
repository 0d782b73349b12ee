"""Who gains and who loses access to what, when one policy takes the place of another.

Both are compared over the same nodes and users. Nodes that no rule of either policy tells apart are compared once;
so are the addresses that rules and routes spell out, cut where any of them begins or ends. Users without a node,
and tags that no node has, count as those that they may get.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from headscale.errors import Malformed
from headscale.ipset import IPSet, of_networks, of_spans, point
from headscale.policy.aliases import Addresses
from headscale.policy.bits import lowest
from headscale.policy.compiled import Compiled
from headscale.policy.document import SSH
from headscale.policy.explain import listed, protocol_name
from headscale.policy.facts import kind_of, subnets
from headscale.policy.lookup import address_lookup
from headscale.policy.paths import NO_NAMES, End, heard_by, node_end, sent_by
from headscale.policy.ports import DEFAULT, WITH_PORTS
from headscale.policy.program import INTERNET
from headscale.policy.ssh import ssh_rules_of
from headscale.policy.who import TAGGED, Kind

# A comparison looks at every pair that rules of either policy join. So many of which all may reach all took 42 s of one
# core; twice as many take four times as long, and meanwhile no other question about a policy is answered.
ENDS_MAX: Final = 2000
OWN: Final = "autogroup:self"

# The ports that each protocol may use, by protocol name; for capabilities and SSH their names, with no ports.
Access = Mapping[str, IPSet]
# What is gained and what is lost.
Change = tuple[tuple[str, ...], tuple[str, ...]]
NOTHING: Final[Change] = ((), ())
# The rows between two ends, and the SSH rules in their order.
_Meeting = tuple[frozenset[int], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Difference:
    """What these sources may do at this target that they could not before (`gained`), or the other way round."""

    sources: tuple[str, ...]
    target: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]


def differences(old: Compiled, new: Compiled, names: Mapping[int, str] = NO_NAMES) -> tuple[Difference, ...]:
    """All access that changes, by target; nothing when both mean the same. Raises Malformed for too many ends.

    `names` are what nodes are called, by id.
    """
    policies = (_Policy(old), _Policy(new))
    groups = _groups(policies, names)
    if len(groups) > ENDS_MAX:
        raise Malformed(
            f"{len(groups)} kinds of nodes and addresses are too many to compare, {ENDS_MAX} can be"
        )
    pair = _Pair(*policies)
    found: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    near = _Near(policies, groups)
    for target in groups:
        for source in near.to(target):
            if not source.sends or (source is target and not source.kinds):
                continue  # the internet never begins; within one subnet no rule is asked
            alone, together = _relation(source, target)
            change = NOTHING if alone else pair.change(source, target, own=False)
            own = pair.change(source, target, own=True) if together else NOTHING
            if change != NOTHING:
                found[listed(target.names), *change] += source.names
            if own not in (NOTHING, change):
                found[OWN, *own] += source.names
    return tuple(
        Difference(tuple(dict.fromkeys(sources)), target, gained, lost)
        for (target, gained, lost), sources in found.items()
    )


@dataclass(frozen=True, slots=True)
class _View:
    """What one policy makes of an end, by family: the source sets that it is in, the rows that are about it; and
    the SSH rules on either side of which it is."""

    sources: tuple[frozenset[int], frozenset[int]]
    rows: tuple[frozenset[int], frozenset[int]]
    families: frozenset[int]
    ssh_from: frozenset[int]
    ssh_to: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Group:
    """Ends that neither policy tells apart: what they are called, and whose or with which tags (None: no node)."""

    views: tuple[_View, _View]
    names: tuple[str, ...]
    kinds: frozenset[Kind]
    sends: bool


class _Near:
    """Finds the groups that any rule of either policy puts before a target; of all pairs few are."""

    def __init__(self, policies: "tuple[_Policy, _Policy]", groups: list[_Group]) -> None:
        self._policies = policies
        self._groups = groups
        self._before: dict[object, set[int]] = defaultdict(set)
        for at, group in enumerate(groups):
            for key in self._keys(group):
                self._before[key].add(at)

    def _keys(self, group: _Group) -> Iterator[object]:
        """What the group has as a source."""
        yield from group.kinds
        for policy, view in enumerate(group.views):
            for family, sources in enumerate(view.sources):
                yield from ((policy, family, number) for number in sources)
            yield from ((policy, "ssh", number) for number in view.ssh_from)

    def to(self, target: _Group) -> list[_Group]:
        """The groups, in their order, that may have something to do with this one."""
        found: set[int] = set()
        for kind in target.kinds:
            found |= self._before[kind]
        for policy, view in enumerate(target.views):
            for family, rows in enumerate(view.rows):
                for number in self._policies[policy].by_source(rows):
                    found |= self._before[policy, family, number]
            for number in view.ssh_to:
                found |= self._before[policy, "ssh", number]
        return [self._groups[at] for at in sorted(found)]


def _relation(source: _Group, target: _Group) -> tuple[bool, bool]:
    """Whether all of both are one user's own devices, and whether some are."""
    common = any(isinstance(kind, int) for kind in source.kinds & target.kinds)
    return common and len(source.kinds | target.kinds) == 1, common


class _Policy:
    """One of the two, with what the comparison asks of it again and again."""

    def __init__(self, compiled: Compiled) -> None:
        rules = ssh_rules_of(compiled.program.document).entries
        self.compiled = compiled
        self.ssh = tuple(rule.written for rule in rules)
        self.ssh_sides = (
            [rule.sources.labels for rule in rules],
            [rule.destinations.labels for rule in rules],
        )
        self.ssh_own = frozenset(number for number, rule in enumerate(rules) if rule.destinations.own)
        self._same: dict[frozenset[int], frozenset[int]] = {}
        self._known: dict[_Meeting, Access] = {}
        self._by_source: dict[frozenset[int], dict[int, list[int]]] = {}

    def meeting(self, source: _View, target: _View, *, own: bool) -> _Meeting:
        """The rows and SSH rules between the two; `own`: that are devices of one user."""
        program, rows = self.compiled.program, set[int]()
        for family, sources in enumerate(source.sources):
            heard = self.by_source(target.rows[family])
            smaller = sources if len(sources) < len(heard) else heard
            for number in smaller:
                if number in sources:
                    rows.update(heard.get(number, ()))
            if own and (4, 6)[family] in target.families:
                rows.update(row for row in program.own_rows if program.rows[row].source in sources)
        ssh = source.ssh_from & target.ssh_to
        if own:
            ssh |= source.ssh_from & self.ssh_own
        return frozenset(rows), tuple(sorted(ssh))

    def once(self, numbers: frozenset[int]) -> frozenset[int]:
        """The set that stands for all that are equal to it: equal sets that are two are compared element by element,
        which made a comparison of many ends cubic."""
        return self._same.setdefault(numbers, numbers)

    def by_source(self, rows: frozenset[int]) -> dict[int, list[int]]:
        """These rows by their source sets."""
        known = self._by_source.get(rows)
        if known is None:
            known = self._by_source[rows] = {}
            for row in rows:
                known.setdefault(self.compiled.program.rows[row].source, []).append(row)
        return known

    def access(self, met: _Meeting) -> Access:
        """What these rows and SSH rules allow together."""
        if met not in self._known:
            self._known[met] = {**_traffic(self.compiled, met[0]), **_sessions(self.ssh[n] for n in met[1])}
        return self._known[met]


@dataclass(slots=True)
class _Pair:
    """Both policies, and what was found between their rules."""

    old: _Policy
    new: _Policy
    _known: dict[object, Change] = field(default_factory=dict)

    def change(self, source: _Group, target: _Group, *, own: bool) -> Change:
        """What is gained and what is lost."""
        before = self.old.meeting(source.views[0], target.views[0], own=own)
        after = self.new.meeting(source.views[1], target.views[1], own=own)
        if (before, after) not in self._known:
            was, will = self.old.access(before), self.new.access(after)
            self._known[before, after] = (_less(will, was), _less(was, will))
        return self._known[before, after]


def _traffic(compiled: Compiled, rows: Iterable[int]) -> Access:
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in map(compiled.program.rows.__getitem__, rows):
        if row.traffic is None:
            for capability in row.capabilities:
                spans[capability].append((0, 1))
            continue
        for protocol in DEFAULT if row.traffic.protocol is None else (row.traffic.protocol,):
            ports = row.traffic.ports if protocol in WITH_PORTS else ()
            spans[protocol_name(protocol)] += [(p.first, p.last + 1) for p in ports] or [(0, 1)]
    return {name: of_spans(found) for name, found in spans.items()}


def _sessions(rules: Iterable[SSH]) -> Access:
    """Whom one may be by SSH; of several rules the first for a user counts, as for the client."""
    found: dict[str, str] = {}
    for rule in rules:
        users = [*(("root",) if rule.users.root else ()), *rule.users.names]
        users += [
            *(("autogroup:nonroot",) if rule.users.nonroot else ()),
            *(d.text for d in rule.users.domains),
        ]
        for user in users:
            found.setdefault(user, " after a check" if rule.check else "")
    return {f"ssh as {user}{check}": IPSet((0, 1)) for user, check in found.items()}


def _less(more: Access, less: Access) -> tuple[str, ...]:
    rest = ((name, ports - less.get(name, IPSet())) for name, ports in sorted(more.items()))
    return tuple(_text(name, ports.spans()) for name, ports in rest if ports)


def _text(name: str, spans: Iterable[tuple[int, int]]) -> str:
    parts = [str(first) if past == first + 1 else f"{first}-{past - 1}" for first, past in spans]
    if parts == ["0"]:  # without ports
        return name
    return f"{name}:{'*' if parts in (['0-65535'], ['1-65535']) else ','.join(parts)}"


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An end as each policy sees it. `kind` is that of its owner or tags; `node_id` is None for what is no node."""

    old: End
    new: End
    kind: Kind | None = None
    node_id: int | None = None


def _groups(policies: tuple[_Policy, _Policy], names: Mapping[int, str]) -> list[_Group]:
    """All that is compared. What is no node is never in one group with nodes: it is called by what is spelled."""
    old, new = (policy.compiled for policy in policies)
    nodes = [*_nodes(old, new)]
    points = sorted(point(a) for candidate in nodes for a in candidate.new.addresses)
    members: dict[object, list[_Candidate]] = defaultdict(list)
    views: dict[object, tuple[_View, _View]] = {}
    for candidate in (*nodes, *_absent(old, new), *_spelled(old, new, points)):
        both = (_view(policies[0], candidate.old), _view(policies[1], candidate.new))
        key = (both, candidate.kind is not None or candidate.new.name)
        views[key] = both
        members[key].append(candidate)
    sizes = Counter(candidate.kind for candidate in nodes)
    return [
        _Group(
            views[key],
            _called(new, within, sizes, names),
            frozenset(member.kind for member in within if member.kind is not None),
            sends=any(member.kind is not None or member.new.addresses for member in within),
        )
        for key, within in members.items()
    ]


def _view(policy: _Policy, end: End) -> _View:
    program, labels = policy.compiled.program, frozenset(end.labels)
    from_rules, to_rules = policy.ssh_sides
    return _View(
        sources=(policy.once(sent_by(program, end, 4)), policy.once(sent_by(program, end, 6))),
        rows=(policy.once(heard_by(program, end, 4)), policy.once(heard_by(program, end, 6))),
        families=end.families,
        ssh_from=frozenset(n for n, wanted in enumerate(from_rules) if not labels.isdisjoint(wanted)),
        ssh_to=frozenset(n for n, wanted in enumerate(to_rules) if not labels.isdisjoint(wanted)),
    )


def _called(
    compiled: Compiled, members: list[_Candidate], sizes: Mapping[Kind | None, int], names: Mapping[int, str]
) -> tuple[str, ...]:
    """Owners or tags, of which all nodes are here; else the nodes by name."""
    here = Counter(member.kind for member in members if member.node_id is not None)
    found: list[str] = []
    for member in members:
        if member.kind is None or member.node_id is None:
            found.append(member.new.name)
        elif here[member.kind] == sizes[member.kind]:
            found.append(kind_name(compiled, member.kind))
        else:
            found.append(names.get(member.node_id, f"node {member.node_id}"))
    return tuple(dict.fromkeys(found))


def kind_name(compiled: Compiled, kind: Kind) -> str:
    """The user as a policy calls them, or the tags."""
    if isinstance(kind, tuple):
        return "+".join(kind)
    person = compiled.people.get(kind)
    return (person.email or f"{person.name}@") if person else f"user {kind}"


def _nodes(old: Compiled, new: Compiled) -> Iterator[_Candidate]:
    for node_id, facts in sorted(new.nodes.items()):
        if (before := old.nodes.get(node_id)) is not None:
            yield _Candidate(node_end(before), node_end(facts), kind_of(facts.subject), node_id)


def _absent(old: Compiled, new: Compiled) -> Iterator[_Candidate]:
    """Users without a node and tags that no node has."""
    owners = {facts.subject.user_id for facts in new.nodes.values()}
    for person_id in sorted(new.people.keys() - owners):
        name = kind_name(new, person_id)
        was, will = (End(name, c.program.directory.labels(person_id), person_id) for c in (old, new))
        yield _Candidate(was, will, kind=person_id)
    tags = {tag for facts in new.nodes.values() for tag in facts.subject.tags}
    for tag in sorted({*old.tags, *new.tags} - tags):
        end = End(f"{tag} (no node yet)", (tag, TAGGED))
        yield _Candidate(end, end, kind=(tag,))


def _spelled(old: Compiled, new: Compiled, taken: list[int]) -> Iterator[_Candidate]:
    """The addresses that rules and routes spell out and no node has: one for each stretch that all of them have
    whole or not at all, called by the shortest of them; and the internet."""
    routes = {route for facts in new.nodes.values() for route in subnets(facts.subject)}
    spelled = {*_addresses(old), *_addresses(new), *((str(route), of_networks(route)) for route in routes)}
    ordered = sorted(spelled, key=lambda known: (_size(known[1]), known[0]))
    lookup = address_lookup((number, ips) for number, (_, ips) in enumerate(ordered))
    behind = of_networks(*routes)
    for first, past in pairwise(sorted({bound for _, ips in ordered for bound in ips.bounds})):
        held = bisect_left(taken, first) != bisect_left(taken, past)
        number = lowest(lookup.containing(first))
        if number is None or (held and (past == first + 1 or new.program.tailnet.has_point(first))):
            continue  # nodes' own addresses are compared as the nodes
        [(address, _)] = IPSet((first, first + 1)).ranges()
        end = End(ordered[number][0], addresses=(address,), is_public=address in INTERNET)
        end = replace(end, is_routed=behind.has_point(first))
        yield _Candidate(end, end)
    internet = any(who.internet for c in (old, new) for who in c.program.targets)
    if internet or any(facts.subject.is_exit_node for facts in new.nodes.values()):
        end = End("autogroup:internet", is_public=True)
        yield _Candidate(end, end)


def _addresses(compiled: Compiled) -> Iterator[tuple[str, IPSet]]:
    program = compiled.program
    for aliases in (*program.source_aliases, *(row.targets for row in program.rows)):
        yield from ((alias.text, alias.ips) for alias in aliases if isinstance(alias, Addresses))


def _size(ips: IPSet) -> int:
    return sum(past - first for first, past in ips.spans())
