"""What a node has of a policy: the source sets that it is in, and the rows that concern it.

Whatever follows from the owner or the tags alone is worked out once for each kind of node and shared.
"""

from bisect import bisect_right
from collections.abc import Set
from dataclasses import dataclass, field

from headscale.ipset import Address, point, span
from headscale.policy.program import Program, bits_of
from headscale.policy.subjects import EXIT_ROUTES, Network, Subject
from headscale.policy.who import Kind, Who


@dataclass(frozen=True, slots=True)
class KindFacts:
    """What all nodes with this owner or these tags have: labels, source sets and rows."""

    labels: tuple[str, ...]
    sources: frozenset[int]
    source_bits: int
    rows: tuple[int, ...]
    row_bits: int


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


@dataclass(frozen=True, slots=True)
class Facts:
    """A node and what the policy makes of it. `rows` are those with a rule for it, in order."""

    subject: Subject
    kind: KindFacts
    rows: tuple[int, ...]
    node_class: NodeClass


@dataclass(slots=True)
class _Heard:
    """Rows that reach a node by more than its labels, for each family; `silent` ones make it seen, but no rule."""

    rows: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    silent: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))


def kind_of(subject: Subject) -> Kind:
    """What the node's labels follow from."""
    return subject.tags if subject.user_id is None else subject.user_id


def subnets(subject: Subject) -> tuple[Network, ...]:
    """The node's routes in force but for exit routes, which never count as sources or destinations."""
    return tuple(route for route in subject.routes if route not in EXIT_ROUTES)


# A kind, the stretches of both addresses, and the routes: what facts follow from.
_Key = tuple[Kind, int | None, int | None, tuple[Network, ...]]


@dataclass(slots=True)
class FactMaker:
    """Works facts out for one program; remembers kinds and classes."""

    program: Program
    _kinds: dict[Kind, KindFacts] = field(default_factory=dict)
    _classes: dict[NodeClass, NodeClass] = field(default_factory=dict)
    _alike: dict[_Key, Facts] = field(default_factory=dict)

    def for_program(self, program: Program, *, without: Set[int]) -> "FactMaker":
        """A maker for the same rows with other users, that forgets what it knew of these users."""
        return FactMaker(
            program,
            {kind: facts for kind, facts in self._kinds.items() if kind not in without},
            self._classes,
            {key: facts for key, facts in self._alike.items() if key[0] not in without},
        )

    def of(self, subject: Subject) -> Facts:
        """The node's facts; they depend on nothing but the node and the program."""
        key = (kind_of(subject), self._stretch(subject.ipv4), self._stretch(subject.ipv6), subject.routes)
        known = self._alike.get(key)
        if known is None:
            known = self._alike[key] = self._new_facts(subject)
        return Facts(subject, known.kind, known.rows, known.node_class)

    def _stretch(self, address: Address | None) -> int | None:
        """Where the address lies among all that the policy spells out.

        Within one stretch rules see no difference.
        """
        return None if address is None else bisect_right(self.program.bounds, point(address))

    def _new_facts(self, subject: Subject) -> Facts:
        program, kind = self.program, self.kind(kind_of(subject))
        heard = self._heard(subject)
        extra = heard.rows[0] | heard.rows[1]
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
        return Facts(
            subject,
            kind,
            tuple(sorted(extra.union(kind.rows))) if extra else kind.rows,
            self._classes.setdefault(node_class, node_class),
        )

    def kind(self, kind: Kind) -> KindFacts:
        """What all nodes of this kind have."""
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = self._new_kind(kind)
        return known

    def _new_kind(self, kind: Kind) -> KindFacts:
        program = self.program
        labels = program.directory.labels(kind)
        sources = program.from_side.of_labels(labels)
        rows = program.to_side.of_labels(labels)
        own = program.own_rows if isinstance(kind, int) else ()
        return KindFacts(
            labels,
            frozenset(sources),
            bits_of(sources, program.width),
            tuple(sorted(rows.union(program.to_side.everyone, own))),
            program.bits(rows),
        )

    def _sends(self, subject: Subject, kind: KindFacts, routes: tuple[Network, ...]) -> int:
        """The source sets of the node's own addresses, and for a router of what is behind it."""
        program, side = self.program, self.program.from_side
        found: tuple[set[int], set[int]] = (set(), set())
        bits = 0
        for family, address in enumerate((subject.ipv4, subject.ipv6)):
            if address is None:
                continue
            bits |= kind.source_bits << family * program.width
            found[family].update(side.anything, side.by_address.containing(point(address)))
            if address in program.tailnet:
                found[family].update(side.everyone)
        for route in routes:
            found[_family(route)].update(side.anything, side.everyone, side.by_address.meeting(*span(route)))
        return bits | self._both(found)

    def _hears(self, subject: Subject, kind: KindFacts, heard: _Heard) -> int:
        """The source sets of the rows that concern the node."""
        program = self.program
        bits = 0
        for family, address in enumerate((subject.ipv4, subject.ipv6)):
            if address is not None:
                bits |= kind.row_bits << family * program.width
        held = {family for family, address in enumerate((subject.ipv4, subject.ipv6)) if address is not None}
        for family in held | {_family(route) for route in subject.routes}:
            heard.silent[family].update(
                # Capabilities are had at a node's own addresses alone, not at what it routes.
                row
                for row in program.to_side.everyone
                if family in held or program.rows[row].traffic
            )
        rows = [heard.rows[family] | heard.silent[family] for family in (0, 1)]
        return bits | self._both(tuple({program.rows[row].source for row in of} for of in rows))

    def _hears_own(self, subject: Subject) -> int:
        """The source sets of rules about one's own devices, for which the node is one."""
        program = self.program
        if subject.user_id is None or not program.own_rows:
            return 0
        bits = program.bits(program.own_rows)
        families = [f for f, address in enumerate((subject.ipv4, subject.ipv6)) if address is not None]
        return sum(bits << family * program.width for family in families)

    def _heard(self, subject: Subject) -> _Heard:
        heard, side = _Heard(), self.program.to_side
        if side.by_address:
            for family, address in enumerate((subject.ipv4, subject.ipv6)):
                if address is not None:
                    heard.rows[family].update(side.by_address.containing(point(address)))
            for route in subnets(subject):
                routed = side.by_address.meeting(*span(route))
                heard.rows[_family(route)].update(row for row in routed if self.program.rows[row].traffic)
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

    def _both(self, found: "tuple[set[int], ...]") -> int:
        width = self.program.width
        low = bits_of(found[0], width) if found[0] else 0
        return low | (bits_of(found[1], width) << width if found[1] else 0)


def leads_to(route: Network, target: Who) -> bool:
    """Whether traffic for any of the targets may go by this route."""
    if route in EXIT_ROUTES:
        return target.internet
    return target.everyone or target.ips.overlaps(route)


def _family(network: Network) -> int:
    return 0 if network.version == 4 else 1
