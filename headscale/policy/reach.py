"""Who sees whom, and which routes a node may use through another.

Two nodes are peers exactly if a rule lets one of them reach the other, where a router counts with the networks
behind it too. All of it is `and`s of the bits that `facts` worked out.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headscale.ipset import span
from headscale.policy.facts import Facts, NodeClass, leads_to
from headscale.policy.program import Program, bits_of, numbers_of
from headscale.policy.subjects import EXIT_ROUTES, Network


@dataclass(frozen=True, slots=True)
class _RouteBits:
    """Source sets that a rule lets use a route (`opened`), those that lie on it (`meets`), and those that are
    steered through nodes with a tag (`via`)."""

    opened: int
    meets: int
    via: dict[str, int]


@dataclass(slots=True)
class Reach:
    """Answers for one program; remembers what it found of routes."""

    program: Program
    _routes: dict[Network, _RouteBits] = field(default_factory=dict)

    def for_program(self, program: Program) -> "Reach":
        """The same answers for the same rows with other users."""
        return Reach(program, self._routes)

    def sees(self, a: NodeClass, b: NodeClass) -> bool:
        """Whether nodes of these classes are peers."""
        if a.sends & b.hears or b.sends & a.hears:
            return True
        same_user = a.user_id is not None and a.user_id == b.user_id
        return same_user and bool(a.sends_own & b.hears_own or b.sends_own & a.hears_own)

    def may_use(self, viewer: Facts, route: Network) -> bool:
        """Whether a rule lets the node use this subnet or exit route, at whichever node serves it."""
        bits = self._bits(route)
        mine = viewer.node_class
        # A rule that lets the route's addresses in opens it, even one whose destinations are of the other family
        # (recording routes-r8).
        hears = mine.hears | mine.hears >> self.program.width
        return bool(mine.sends & bits.opened or hears & bits.meets)

    def steered(self, viewer: Facts, route: Network) -> frozenset[str]:
        """The tags of the nodes through which `via` grants steer the viewer for this route."""
        return frozenset(
            tag for tag, sources in self._bits(route).via.items() if viewer.node_class.sends & sources
        )

    def _bits(self, route: Network) -> _RouteBits:
        known = self._routes.get(route)
        if known is None:
            known = self._routes[route] = self._new_bits(route)
        return known

    def _new_bits(self, route: Network) -> _RouteBits:
        program = self.program
        shift = 0 if route.version == 4 else program.width
        if route in EXIT_ROUTES:
            family = 0 if route.version == 4 else 1
            rows, sources = {*program.internet_rows[family], *program.to_side.everyone}, set()
        else:
            first, past = span(route)
            rows = {*program.to_side.everyone, *program.to_side.by_address.meeting(first, past)}
            side = program.from_side
            sources = {*side.everyone, *side.anything, *side.by_address.meeting(first, past)}
        via: dict[str, int] = {}
        for tag, numbers in program.via_rows.items():
            if bits := program.bits(n for n in numbers if leads_to(route, program.targets[n])):
                via[tag] = bits << shift
        return _RouteBits(program.bits(rows) << shift, bits_of(sources, program.width), via)


def see_each_other(reach: Reach, classes: Iterable[NodeClass]) -> "Visible":
    """The table of which classes see which."""
    listed = tuple(classes)
    senders: dict[int, int] = defaultdict(int)
    hearers: dict[int, int] = defaultdict(int)
    families: dict[int, int] = defaultdict(int)
    for at, node_class in enumerate(listed):
        for number in numbers_of(node_class.sends):
            senders[number] |= 1 << at
        for number in numbers_of(node_class.hears):
            hearers[number] |= 1 << at
        if node_class.user_id is not None:
            families[node_class.user_id] |= 1 << at
    return Visible(reach, listed, senders, hearers, families)


@dataclass(frozen=True, slots=True)
class Visible:
    """Classes by number, and for each source set the classes that are in it and that hear it."""

    reach: Reach
    classes: tuple[NodeClass, ...]
    senders: Mapping[int, int]
    hearers: Mapping[int, int]
    families: Mapping[int, int]

    def seen_by(self, viewer: NodeClass) -> list[NodeClass]:
        """The classes whose nodes a node of this class sees; its own among them when its nodes see each other."""
        seen = 0
        for number in numbers_of(viewer.sends):
            seen |= self.hearers.get(number, 0)
        for number in numbers_of(viewer.hears):
            seen |= self.senders.get(number, 0)
        found = [self.classes[at] for at in numbers_of(seen)]
        if viewer.user_id is not None:
            mine = self.families.get(viewer.user_id, 0) & ~seen
            found += [
                c for c in map(self.classes.__getitem__, numbers_of(mine)) if self.reach.sees(viewer, c)
            ]
        return found
