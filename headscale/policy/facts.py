"""What a node has of a policy: the source sets that it is in, and the rows that concern it.

Whatever follows from the owner or the tags alone is worked out once for each kind of node and shared.
"""

from bisect import bisect_right
from collections.abc import Set
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from headscale.ipset import Address, point, span
from headscale.policy.bits import bits_of, numbers_of
from headscale.policy.program import Program
from headscale.policy.subjects import EXIT_ROUTES, Network, Subject
from headscale.policy.who import Kind, Who


@dataclass(frozen=True, slots=True)
class Said:
    """What the policy says of nodes by the labels that it knows: their source sets, their rows, and whom they hear.

    All three are bits: `sources` and `hears` of source sets, `rows` of rows. Rows that are about everybody as well are
    there for the labels that they name alone, because a filter spells these out.
    """

    sources: int
    rows: int
    hears: int


@dataclass(frozen=True, slots=True)
class KindFacts:
    """What all nodes with this owner or these tags have."""

    labels: tuple[str, ...]
    said: Said


@dataclass(frozen=True, slots=True)
class NodeClass:
    """What decides whom a node sees and which routes it may use; in one compilation, equal ones are identical.

    `sends` are the source sets that the node is in, `hears` those that some rule lets reach it, both with IPv4 in
    the lower half and IPv6 in the upper. `sends_own` and `hears_own` are the same for rules about one's own devices,
    which know no routes. `user_id` and `tags` are set only where a rule depends on them.
    """

    sends: int
    hears: int
    sends_own: int
    hears_own: int
    user_id: int | None
    tags: tuple[str, ...]
    routes: tuple[Network, ...]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Reached:
    """The rows (as bits) with a rule for a node; one object for all nodes for which these rules say the same."""

    rows: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Standing:
    """What all nodes have that no rule tells apart, one object for all of them."""

    reached: Reached
    node_class: NodeClass


@dataclass(frozen=True, slots=True)
class Facts:
    """A node and what the policy makes of it."""

    subject: Subject
    kind: KindFacts
    standing: Standing

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows with a rule for the node, in order."""
        return tuple(numbers_of(self.standing.reached.rows))

    @property
    def node_class(self) -> NodeClass:
        """Whom the node sees, and which routes it may use."""
        return self.standing.node_class


@dataclass(slots=True)
class _Heard:
    """Rows that reach a node by more than its labels and addresses, for each family.

    `silent` ones make it seen, but are no rule for it.
    """

    rows: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    silent: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))


def kind_of(subject: Subject) -> Kind:
    """What the node's labels follow from."""
    return subject.tags if subject.user_id is None else subject.user_id


def subnets(subject: Subject) -> tuple[Network, ...]:
    """The node's routes in force but for exit routes, which never count as sources or destinations."""
    return tuple(route for route in subject.routes if route not in EXIT_ROUTES)


# What is said of the kind; the stretches of both addresses; routes; user and tags, where rules depend on them.
_Key = tuple[Said, bool, int | None, int | None, tuple[Network, ...], int | None, tuple[str, ...]]


@dataclass(slots=True)
class FactMaker:
    """Works facts out for one program; remembers kinds, classes, and nodes that no rule tells apart."""

    program: Program
    _kinds: dict[Kind, KindFacts] = field(default_factory=dict)
    _said: dict[frozenset[str], Said] = field(default_factory=dict)
    _classes: dict[NodeClass, NodeClass] = field(default_factory=dict)
    _alike: "WeakValueDictionary[_Key, Standing]" = field(default_factory=WeakValueDictionary)
    _reached: "WeakValueDictionary[object, Reached]" = field(default_factory=WeakValueDictionary)
    _often: "_Often | None" = None

    def for_program(self, program: Program, *, without: Set[int]) -> "FactMaker":
        """A maker for the same rows with other users, that forgets what it knew of these users."""
        kinds = {kind: facts for kind, facts in self._kinds.items() if kind not in without}
        return FactMaker(program, kinds, self._said, self._classes, self._alike, self._reached, self._often)

    def of(self, subject: Subject) -> Facts:
        """The node's facts; they depend on nothing but the node and the program."""
        program, kind = self.program, self.kind(kind_of(subject))
        key = (
            kind.said,
            subject.user_id is None,
            self._stretch(subject.ipv4),
            self._stretch(subject.ipv6),
            subject.routes,
            subject.user_id if program.own_rows else None,
            subject.tags if program.via_rows else (),
        )
        known = self._alike.get(key)
        if known is None:
            known = self._alike[key] = self._new_standing(subject, kind, key[1:])
        return Facts(subject, kind, known)

    def _stretch(self, address: Address | None) -> int | None:
        """Where the address lies among all that the policy spells out.

        Within one stretch rules see no difference.
        """
        return None if address is None else bisect_right(self.program.bounds, point(address))

    def _new_standing(self, subject: Subject, kind: KindFacts, rest: tuple[object, ...]) -> Standing:
        program, often = self.program, self._often_asked()
        heard = self._heard(subject)
        node_class = NodeClass(
            sends=self._sends(subject, kind, subnets(subject)),
            hears=self._hears(subject, kind, heard),
            sends_own=self._sends(subject, kind, ())
            if program.own_rows and subject.user_id is not None
            else 0,
            hears_own=self._hears_own(subject),
            user_id=subject.user_id if program.own_rows else None,
            tags=subject.tags if program.via_rows else (),
            routes=subject.routes,
        )
        rows = (
            kind.said.rows
            | often.everyone_rows
            | self._rows_at(subject)
            | bits_of(heard.rows[0] | heard.rows[1], len(program.rows))
        )
        if subject.user_id is not None:
            rows |= often.of(kind.said.sources)
        reached = self._reached.get(key := (rows, kind.said.rows, rest))
        if reached is None:
            reached = self._reached[key] = Reached(rows)
        return Standing(reached, self._classes.setdefault(node_class, node_class))

    def kind(self, kind: Kind) -> KindFacts:
        """What all nodes of this kind have."""
        known = self._kinds.get(kind)
        if known is None:
            labels = self.program.directory.labels(kind)
            known = self._kinds[kind] = KindFacts(labels, self._said_of(labels))
        return known

    def _said_of(self, labels: tuple[str, ...]) -> Said:
        senders, targets, heard = self.program.from_side, self.program.to_side, self.program.heard
        spoken_of = frozenset(
            label for label in labels if label in senders.by_label or label in targets.by_label
        )
        known = self._said.get(spoken_of)
        if known is None:
            known = self._said[spoken_of] = Said(
                senders.of_labels(spoken_of),
                targets.of_labels(spoken_of),
                heard.of_labels(spoken_of),
            )
        return known

    def _often_asked(self) -> "_Often":
        if self._often is None:
            self._often = _often_of(self.program)
        return self._often

    def _rows_at(self, subject: Subject) -> int:
        """The rows that spell out the node's addresses, or some behind it."""
        side = self.program.to_side
        if not side.by_address:
            return 0
        rows = behind = 0
        for address in (subject.ipv4, subject.ipv6):
            if address is not None:
                rows |= side.by_address.containing(point(address))
        for route in subnets(subject):
            behind |= side.by_address.meeting(*span(route))
        return rows | (behind & self._often_asked().with_traffic)

    def _sends(self, subject: Subject, kind: KindFacts, routes: tuple[Network, ...]) -> int:
        """The source sets of the node's own addresses, and for a router of what is behind it."""
        program, side = self.program, self.program.from_side
        anything, everyone = bits_of(side.anything, side.width), bits_of(side.everyone, side.width)
        found = [0, 0]
        for family, address in enumerate((subject.ipv4, subject.ipv6)):
            if address is None:
                continue
            found[family] |= kind.said.sources | anything | side.by_address.containing(point(address))
            if address in program.tailnet:
                found[family] |= everyone
        for route in routes:
            found[_family(route)] |= anything | everyone | side.by_address.meeting(*span(route))
        return found[0] | found[1] << program.width

    def _hears(self, subject: Subject, kind: KindFacts, heard: _Heard) -> int:
        """The source sets of the rows that concern the node."""
        program, side = self.program, self.program.heard
        often = self._often_asked()
        found = [program.bits(heard.rows[family] | heard.silent[family]) for family in (0, 1)]
        for family, address in enumerate((subject.ipv4, subject.ipv6)):
            if address is not None:
                at = side.by_address.containing(point(address))
                found[family] |= kind.said.hears | at | often.everyone
        for route in subnets(subject):
            found[_family(route)] |= program.heard_behind.meeting(*span(route))
        # Capabilities are had at a node's own addresses alone, not at what it routes.
        for route in subject.routes:
            found[_family(route)] |= often.everyone_behind
        return found[0] | found[1] << program.width

    def _hears_own(self, subject: Subject) -> int:
        """The source sets of rules about one's own devices, for which the node is one."""
        if subject.user_id is None:
            return 0
        bits = self._often_asked().sources
        families = [f for f, address in enumerate((subject.ipv4, subject.ipv6)) if address is not None]
        return sum(bits << family * self.program.width for family in families)

    def _heard(self, subject: Subject) -> _Heard:
        heard = _Heard()
        for route in subject.routes:
            if route in EXIT_ROUTES:
                heard.rows[_family(route)].update(self.program.internet_rows[_family(route)])
        for tag in subject.tags:
            for row in self.program.via_rows.get(tag, ()):
                self._hear_via(heard, subject, row)
        return heard

    def _hear_via(self, heard: _Heard, subject: Subject, row: int) -> None:
        """A `via` grant concerns a node with the tag for what it routes. Capabilities make it seen, no more.

        Source: recordings grant-k12 and via-grant-v28.
        """
        into = heard.silent if self.program.rows[row].traffic is None else heard.rows
        for route in subject.routes:
            if leads_to(route, self.program.targets[row]):
                into[_family(route)].add(row)


@dataclass(frozen=True, slots=True)
class _Often:
    """Rows of a program that are asked for again and again, as bits.

    Of the rows about one's own devices those that somebody has for their labels, by source set (`by_source`), and
    those that anybody may have (`always`), and the source sets of all (`sources`). The rows `with_traffic`. The source
    sets of rows about everything (`everyone`), and of those that count for what is behind a router (`everyone_behind`);
    these rows themselves (`everyone_rows`).
    """

    by_source: dict[int, list[int]]
    always: int
    sources: int
    width: int
    with_traffic: int
    everyone: int
    everyone_behind: int
    everyone_rows: int

    def of(self, sources: int) -> int:
        """The rows about their own devices that users in these source sets have a rule of."""
        mine = numbers_of(sources & self.sources)
        rows = (row for number in mine for row in self.by_source.get(number, ()))
        return self.always | bits_of(rows, self.width)


def _often_of(program: Program) -> _Often:
    by_source: dict[int, list[int]] = {}
    always: list[int] = []
    for number in program.own_rows:
        row = program.rows[number]
        who = program.sources[row.source]
        # Capabilities make a rule even when their sources are nobody (recording grant-h6).
        if who.everyone or who.anything or who.ips or row.traffic is None:
            always.append(number)
        else:
            by_source.setdefault(row.source, []).append(number)
    width, everyone = len(program.rows), program.to_side.everyone
    with_traffic = [number for number, row in enumerate(program.rows) if row.traffic is not None]
    return _Often(
        by_source,
        bits_of(always, width),
        program.bits(program.own_rows),
        width,
        bits_of(with_traffic, width),
        program.bits(everyone),
        program.bits(number for number in everyone if program.rows[number].traffic is not None),
        bits_of(everyone, width),
    )


def leads_to(route: Network, target: Who) -> bool:
    """Whether traffic for any of the targets may go by this route."""
    if route in EXIT_ROUTES:
        return target.internet
    return target.everyone or target.ips.overlaps(route)


def _family(network: Network) -> int:
    return 0 if network.version == 4 else 1
