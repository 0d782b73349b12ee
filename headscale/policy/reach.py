"""Who sees whom, and which routes a node may use through another.

Two nodes are peers exactly if a rule lets one of them reach the other, where a router counts with the networks
behind it too. All of it is `and`s of the bits that `facts` worked out.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from headscale.ipset import span
from headscale.policy.bits import bits_of, numbers_of
from headscale.policy.facts import Facts, NodeClass, leads_to
from headscale.policy.program import Program
from headscale.policy.subjects import EXIT_ROUTES, Network


@dataclass(frozen=True, slots=True)
class _RouteBits:
    """Source sets that a rule lets use a route (`opened`), those that lie on it (`meets`), and those that are
    steered through nodes with a tag (`via`)."""

    opened: int
    meets: int
    via: dict[str, int]


# Classes in fewer source sets are never compared one by one, so that a small tailnet goes the way of a large one.
_WIDE: Final = 1_000


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
        opened, meets = program.bits(program.to_side.everyone), 0
        if route in EXIT_ROUTES:
            opened |= program.bits(program.internet_rows[0 if route.version == 4 else 1])
        else:
            first, past = span(route)
            side = program.from_side
            opened |= program.heard.by_address.meeting(first, past)
            meets = side.by_address.meeting(first, past) | bits_of(side.everyone + side.anything, side.width)
        via: dict[str, int] = {}
        for tag, numbers in program.via_rows.items():
            if bits := program.bits(n for n in numbers if leads_to(route, program.targets[n])):
                via[tag] = bits << shift
        return _RouteBits(opened << shift, meets, via)


def see_each_other(reach: Reach, classes: Iterable[NodeClass]) -> "Visible":
    """The table of which classes see which."""
    listed = tuple(classes)
    visible = Visible(reach, listed)
    senders, hearers = visible.senders, visible.hearers
    for at, node_class in enumerate(listed):
        if visible.is_wide(node_class):
            visible.wide.append(at)
        else:
            for number in numbers_of(node_class.sends):
                senders[number] |= 1 << at
            for number in numbers_of(node_class.hears):
                hearers[number] |= 1 << at
        if node_class.user_id is not None:
            visible.families[node_class.user_id] |= 1 << at
    return visible


@dataclass(frozen=True, slots=True)
class Visible:
    """Classes by number, and for each source set the classes that are in it and that hear it.

    Classes with more source sets than there are classes (`wide`) are compared with each class instead.
    """

    reach: Reach
    classes: tuple[NodeClass, ...]
    senders: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    hearers: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    families: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    wide: list[int] = field(default_factory=list)

    def is_wide(self, node_class: NodeClass) -> bool:
        """Whether it takes longer to go through the source sets of the class than through all classes."""
        return node_class.sends.bit_count() + node_class.hears.bit_count() > _WIDE + len(self.classes)

    def seen_by(self, viewer: NodeClass) -> list[NodeClass]:
        """The classes whose nodes a node of this class sees; its own among them when its nodes see each other."""
        if self.is_wide(viewer):
            return [other for other in self.classes if self.reach.sees(viewer, other)]
        seen = bits_of(
            (at for at in self.wide if self.reach.sees(viewer, self.classes[at])), len(self.classes)
        )
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
