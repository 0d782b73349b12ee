"""The nodes of a tailnet, filed by what rules ask of them: the addresses behind each label, and the routers.

A value with cheap changes: a node that joins costs a few copies of what it belongs to, not of the tailnet.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Final
from weakref import WeakValueDictionary

from immutables import Map

from headscale.ipset import EMPTY, EVERYTHING, IPSet, of_networks, of_points, point, text_of, union
from headscale.policy.bits import numbers_of
from headscale.policy.facts import Facts, subnets
from headscale.policy.program import Program
from headscale.policy.subjects import Network


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SourceText:
    """A source set's addresses as rules spell them; one object, shared, while they stay the same."""

    ips: IPSet
    texts: tuple[str, ...]


# A source set, and the user of whose own devices it is asked.
TextKey = tuple[int, int | None]
# So many addresses are put into a text or taken out of it; for more it is made anew.
BEHIND_MAX: Final = 64
ANYBODY: Final = SourceText(EVERYTHING, ("*",))


@dataclass(frozen=True, slots=True)
class Spelling:
    """Texts of sets and addresses, so that equal sets are one object and no address is spelled twice."""

    sets: "WeakValueDictionary[IPSet, SourceText]" = field(default_factory=WeakValueDictionary)
    addresses: dict[int, str] = field(default_factory=dict)

    def of(self, ips: IPSet) -> SourceText:
        """The set with its spelling."""
        if ips == EVERYTHING:
            return ANYBODY
        known = self.sets.get(ips)
        if known is None:
            known = self.sets[ips] = SourceText(
                ips, tuple(map(self._text, ips.bounds[::2], ips.bounds[1::2]))
            )
        return known

    def known(self, text: SourceText) -> SourceText:
        """This text, or the object that is equal to it."""
        if text.ips == EVERYTHING:
            return ANYBODY
        return self.sets.setdefault(text.ips, text)

    def changed_at(self, value: int, ips: IPSet, texts: tuple[str, ...], after: IPSet) -> tuple[str, ...]:
        """The texts of a set that differs from another only at this point and its neighbours."""
        before = bisect_left(ips.bounds, value) // 2
        behind = (len(ips.bounds) - bisect_right(ips.bounds, value + 1)) // 2
        row = after.bounds[2 * before : len(after.bounds) - 2 * behind]
        middle = tuple(map(self._text, row[::2], row[1::2]))
        return texts[:before] + middle + texts[len(texts) - behind :]

    def _text(self, first: int, past: int) -> str:
        if past - first > 1:
            return text_of(first, past)
        known = self.addresses.get(first)
        if known is None:
            known = self.addresses[first] = text_of(first, past)
        return known


@dataclass(frozen=True, slots=True)
class Members:
    """See the module. `listed` has the nodes of those labels whose nodes are asked for one by one."""

    program: Program
    nodes: Map[int, Facts]
    addresses: Map[str, IPSet]
    routers: Map[Network, frozenset[int]]
    listed: Map[str, Map[int, Facts]]
    _spelling: Spelling
    _texts: dict[TextKey, SourceText] = field(default_factory=dict)
    _behind: dict[TextKey, tuple[SourceText, frozenset[int]]] = field(default_factory=dict)

    def changed(self, changed: Iterable[Facts], gone: Iterable[int]) -> "Members":
        """With these nodes new or in place of their older selves, and without those."""
        pairs: list[tuple[Facts | None, Facts | None]] = []
        nodes = self.nodes
        for facts in changed:
            before = nodes.get(facts.subject.id)
            if before is None or (before.subject, before.kind) != (facts.subject, facts.kind):
                pairs.append((before, facts))
                nodes = nodes.set(facts.subject.id, facts)
        for node_id in gone:
            before = nodes.get(node_id)
            if before is not None:
                pairs.append((before, None))
                nodes = nodes.delete(node_id)
        if not pairs:
            return self
        addresses, routers, listed = self.addresses, self.routers, self.listed
        stale = _Stale()
        for old, new in pairs:
            if _placing(old) != _placing(new):
                stale.note(old)
                stale.note(new)
                addresses = _move(addresses, old, new)
            if _routes(old) != _routes(new):
                routers = _reroute(routers, old, new)
            listed = _relist(listed, old, new)
        if {*routers} != {*self.routers}:
            stale.rerouted.update(self.program.from_side.everyone)
        texts, behind = stale.split(self._texts, self._behind, own=self.program.own_sources)
        return Members(self.program, nodes, addresses, routers, listed, self._spelling, texts, behind)

    def text(self, number: int, user_id: int | None = None) -> SourceText:
        """Who is in a source set; with a user, which of that user's own devices are."""
        key = (number, user_id)
        known = self._texts.get(key)
        if known is None:
            behind = self._behind.get(key)
            if behind is not None:
                known = self._caught_up(number, *behind)
            else:
                ips = self._source(number) if user_id is None else self._own(number, user_id)
                known = self._spelling.of(ips)
            known = self._texts.setdefault(key, known)
        return known

    def _caught_up(self, number: int, old: SourceText, points: frozenset[int]) -> SourceText:
        """The text of a source set after the nodes with these few addresses changed."""
        ips, texts = old.ips, old.texts
        for value in points:
            inside = self._is_in_source(number, value)
            after = ips.with_point(value) if inside else ips.without_point(value)
            if after is not ips:
                texts = self._spelling.changed_at(value, ips, texts, after)
                ips = after
        return self._spelling.known(SourceText(ips, texts))

    def _is_in_source(self, number: int, value: int) -> bool:
        who = self.program.sources[number]
        if who.anything or who.ips.has_point(value):
            return True
        if who.everyone and (self.program.tailnet | of_networks(*self.routers)).has_point(value):
            return True
        return any(self.addresses.get(label, EMPTY).has_point(value) for label in who.labels)

    def _source(self, number: int) -> IPSet:
        who = self.program.sources[number]
        if who.anything:
            return EVERYTHING
        parts = [who.ips, *(self.addresses.get(label, EMPTY) for label in who.labels)]
        if who.everyone:
            parts += (self.program.tailnet, of_networks(*self.routers))
        return union(parts)

    def _own(self, number: int, user_id: int) -> IPSet:
        who = self.program.sources[number]
        mine = self.addresses.get(f"user:{user_id}", EMPTY)
        labels = self.program.directory.labels(user_id)
        if who.everyone or who.anything or not who.labels.isdisjoint(labels):
            return mine
        return mine & who.ips

    def labelled(self, labels: Iterable[str]) -> list[Facts]:
        """The nodes with any of these labels, which must be listed ones, by id."""
        found: dict[int, Facts] = {}
        for label in labels:
            found.update(self.listed.get(label, Map()).items())
        return [found[node_id] for node_id in sorted(found)]


@dataclass(frozen=True, slots=True)
class _Stale:
    """Which texts no longer hold: `moved` maps a source set to the points that came or went in it."""

    moved: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    users: set[int] = field(default_factory=set)
    rerouted: set[int] = field(default_factory=set)

    def note(self, facts: Facts | None) -> None:
        """This node's addresses come or go."""
        if facts is not None:
            points = set(_points(facts))
            for number in numbers_of(facts.kind.said.sources):
                self.moved[number] |= points
            if facts.subject.user_id is not None:
                self.users.add(facts.subject.user_id)

    def split(
        self,
        texts: dict[TextKey, SourceText],
        behind: dict[TextKey, tuple[SourceText, frozenset[int]]],
        *,
        own: frozenset[int],
    ) -> tuple[dict[TextKey, SourceText], dict[TextKey, tuple[SourceText, frozenset[int]]]]:
        """The texts that hold still, and those that are few changes behind; `own` are asked with a user."""
        hold, later = dict(texts), dict(behind)
        for key in (*product(own, self.users), *((number, None) for number in self.rerouted)):
            hold.pop(key, None)
            later.pop(key, None)
        for number, points in self.moved.items():
            key = (number, None)
            waited = later.pop(key, (None, frozenset[int]()))
            old = hold.pop(key, None)
            base, waiting = (old, frozenset[int]()) if old else waited
            # `*` is one text for two intervals, so nothing can be put into it or taken out.
            if base is not None and base is not ANYBODY and len(waiting) + len(points) <= BEHIND_MAX:
                later[key] = (base, waiting | points)
        return hold, later


def members_of(program: Program, nodes: Iterable[Facts], *, listed: frozenset[str]) -> Members:
    """All nodes, filed."""
    by_id = {facts.subject.id: facts for facts in nodes}
    points: dict[str, list[int]] = defaultdict(list)
    routers: dict[Network, set[int]] = defaultdict(set)
    by_label: dict[str, dict[int, Facts]] = {label: {} for label in listed}
    for node_id, facts in by_id.items():
        own = list(_points(facts))
        for label in facts.kind.labels:
            points[label] += own
            if label in listed:
                by_label[label][node_id] = facts
        for route in subnets(facts.subject):
            routers[route].add(node_id)
    return Members(
        program,
        Map(by_id),
        Map({label: of_points(found) for label, found in points.items()}),
        Map({route: frozenset(ids) for route, ids in routers.items()}),
        Map({label: Map(found) for label, found in by_label.items()}),
        Spelling(),
    )


def _points(facts: Facts) -> Iterator[int]:
    return (point(a) for a in (facts.subject.ipv4, facts.subject.ipv6) if a is not None)


def _placing(facts: Facts | None) -> object:
    """What decides which addresses are behind which label."""
    return facts and (facts.kind, facts.subject.ipv4, facts.subject.ipv6)


def _routes(facts: Facts | None) -> tuple[Network, ...]:
    return subnets(facts.subject) if facts else ()


def _move(addresses: Map[str, IPSet], old: Facts | None, new: Facts | None) -> Map[str, IPSet]:
    """The addresses behind labels, after one node's went from the old to the new."""
    if old is not None:
        for label in old.kind.labels:
            ips = addresses[label]
            for value in _points(old):
                ips = ips.without_point(value)
            addresses = addresses.set(label, ips) if ips else addresses.delete(label)
    if new is not None:
        for label in new.kind.labels:
            ips = addresses.get(label, EMPTY)
            for value in _points(new):
                ips = ips.with_point(value)
            addresses = addresses.set(label, ips)
    return addresses


def _reroute(
    routers: Map[Network, frozenset[int]], old: Facts | None, new: Facts | None
) -> Map[Network, frozenset[int]]:
    for route in _routes(old):
        assert old is not None
        rest = routers[route] - {old.subject.id}
        routers = routers.set(route, rest) if rest else routers.delete(route)
    for route in _routes(new):
        assert new is not None
        routers = routers.set(route, routers.get(route, frozenset()) | {new.subject.id})
    return routers


def _relist(
    listed: Map[str, Map[int, Facts]], old: Facts | None, new: Facts | None
) -> Map[str, Map[int, Facts]]:
    for label in old.kind.labels if old else ():
        if old is not None and label in listed:
            listed = listed.set(label, listed[label].delete(old.subject.id))
    for label in new.kind.labels if new else ():
        if new is not None and label in listed:
            listed = listed.set(label, listed[label].set(new.subject.id, new))
    return listed
