"""A policy resolved to labels, before any node: which rows a node meets, by its labels and addresses.

Sources and rows are numbered. What a node has of them is kept as an integer used as a bit set, so that asking
whether one node may reach another is an `and` of two numbers. Each source set has two bits, one a family, because
a rule for an IPv4 address admits nobody to an IPv6 one.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final, TypeVar

from headscale.ipset import IPSet, of_networks, union
from headscale.policy.aliases import Addresses, Alias
from headscale.policy.bits import bits_of
from headscale.policy.document import Document
from headscale.policy.grants import Row, rows_of
from headscale.policy.lookup import AddressLookup, address_lookup
from headscale.policy.who import Directory, Who, who_of

T = TypeVar("T")

# Where nodes' addresses come from. 100.115.92.0/23 belongs to ChromeOS machines' inside and is no source.
TAILNET: Final = of_networks(IPv4Network("100.64.0.0/10"), IPv6Network("fd7a:115c:a1e0::/48")) - of_networks(
    IPv4Network("100.115.92.0/23")
)
# What `autogroup:internet` opens: public addresses. Source: recording routes-b17.
INTERNET: Final = of_networks(IPv4Network("0.0.0.0/0"), IPv6Network("2000::/3")) - of_networks(
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("100.64.0.0/10"),
)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the rows: the numbers, all below the width, that labels and addresses stand for.

    `everyone` are those with `*`, `anything` those with `autogroup:danger-all`.
    """

    width: int
    by_label: dict[str, list["Numbers"]]
    by_address: AddressLookup
    everyone: tuple[int, ...]
    anything: tuple[int, ...]

    def of_labels(self, labels: Iterable[str]) -> int:
        """The numbers that a node with these labels has, as bits."""
        bits, few = 0, list[int]()
        for label in labels:
            for numbers in self.by_label.get(label, ()):
                if len(numbers.listed) * _FEW < self.width:
                    few += numbers.listed
                else:
                    bits |= numbers.bits(self.width)
        return bits | bits_of(few, self.width) if few else bits


@dataclass(slots=True)
class Numbers:
    """The numbers that have the same labels and addresses, shared by all these labels; many are kept as bits too."""

    listed: list[int] = field(default_factory=list)
    _bits: int | None = None

    def bits(self, width: int) -> int:
        """The numbers as bits."""
        if self._bits is None:
            self._bits = bits_of(self.listed, width)
        return self._bits


# Bits are kept of no more than so many lists: each has at least one number in so many.
_FEW: Final = 1_000


@dataclass(frozen=True, slots=True)
class Program:
    """See the module. `targets` are all of a row's targets together, `literals` its addresses one by one.

    `own_rows`, `internet_rows` (by family) and `via_rows` (by tag) are those that labels do not decide. `heard` has the
    source sets of the rows in `to_side`; behind routers only those with traffic count (`heard_behind`).
    """

    document: Document
    directory: Directory
    tailnet: IPSet
    rows: tuple[Row, ...]
    targets: tuple[Who, ...]
    literals: tuple[tuple[IPSet, ...], ...]
    sources: tuple[Who, ...]
    source_aliases: tuple[tuple[Alias, ...], ...]
    from_side: Side
    to_side: Side
    heard: Side
    heard_behind: AddressLookup
    own_rows: tuple[int, ...]
    internet_rows: tuple[frozenset[int], frozenset[int]]
    via_rows: dict[str, list[int]]
    own_sources: frozenset[int]
    bounds: tuple[int, ...]
    first_alike: dict[tuple[int, int | None], int]
    _spelled: dict[IPSet, tuple[str, ...]] = field(default_factory=dict, compare=False)

    def spelled(self, literal: IPSet) -> tuple[str, ...]:
        """The texts of addresses that a row names, worked out once."""
        known = self._spelled.get(literal)
        if known is None:
            known = self._spelled[literal] = literal.texts()
        return known

    def merged_into(self, number: int) -> int:
        """The first row with the same sources and protocol, whose place in the order this one's rules take.

        Rows with `via` keep their own (recording via-grant-v42).
        """
        row = self.rows[number]
        if row.via or row.traffic is None:
            return number
        return self.first_alike[row.source, row.traffic.protocol]

    @property
    def width(self) -> int:
        """How many bits a family has."""
        return len(self.sources)

    def bits(self, rows: Iterable[int]) -> int:
        """The source sets of these rows, as bits."""
        return bits_of({self.rows[row].source for row in rows}, self.width)


def program_of(document: Document, directory: Directory, *, tailnet: IPSet = TAILNET) -> Program:
    """The policy, resolved for these users; `tailnet` is where nodes' addresses come from."""
    found = rows_of(document)
    targets = _of_targets(found.rows, who_of)
    literals = _of_targets(found.rows, _spelled)
    plain = [(number, who) for number, who in enumerate(targets) if not found.rows[number].via]
    via_rows: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(found.rows):
        for tag in row.via:
            via_rows[tag].append(number)
    return Program(
        document,
        directory,
        tailnet,
        found.rows,
        targets,
        literals,
        found.sources,
        found.aliases,
        _side(enumerate(found.sources), len(found.sources)),
        _side(plain, len(targets)),
        *_heard(found.rows, plain, len(found.sources)),
        own_rows=tuple(number for number, who in plain if who.own),
        internet_rows=_internet_rows(found.rows, targets, literals),
        via_rows=dict(via_rows),
        own_sources=frozenset(found.rows[number].source for number, who in plain if who.own),
        bounds=_bounds(
            [tailnet, *(who.ips for who in (*{id(w): w for w in targets}.values(), *found.sources))]
        ),
        first_alike=_first_alike(found.rows),
    )


def _bounds(sets: Iterable[IPSet]) -> tuple[int, ...]:
    """Where any of these sets begins or ends."""
    return tuple(sorted({bound for ips in sets for bound in ips.bounds}))


def _internet_rows(
    rows: tuple[Row, ...], targets: tuple[Who, ...], literals: tuple[tuple[IPSet, ...], ...]
) -> tuple[frozenset[int], frozenset[int]]:
    """The rows that exit nodes serve, by family: the whole internet, or public addresses (as the Go server does)."""
    found: tuple[set[int], set[int]] = (set(), set())
    for number, (row, who) in enumerate(zip(rows, targets, strict=True)):
        if row.via or not (who.internet or who.ips):
            continue
        spelled = literals[number]
        for family in (0, 1):
            if who.internet or any(is_public(ips, family) for ips in spelled):
                found[family].add(number)
    return frozenset(found[0]), frozenset(found[1])


def is_public(ips: IPSet, family: int) -> bool:
    """Whether these are addresses of this family (0 for IPv4), and all on the internet."""
    return ips.has_family((4, 6)[family]) and ips.is_within(INTERNET)


def _spelled(targets: tuple[Alias, ...]) -> tuple[IPSet, ...]:
    return tuple(alias.ips for alias in targets if isinstance(alias, Addresses))


def _first_alike(rows: tuple[Row, ...]) -> dict[tuple[int, int | None], int]:
    first: dict[tuple[int, int | None], int] = {}
    for number, row in enumerate(rows):
        if row.traffic is not None and not row.via:
            first.setdefault((row.source, row.traffic.protocol), number)
    return first


def _of_targets(rows: Iterable[Row], make: Callable[[tuple[Alias, ...]], T]) -> tuple[T, ...]:
    """What this makes of each row's targets; rows with the same ones, such as those of one grant, share it."""
    known: dict[tuple[Alias, ...], T] = {}
    by_id: dict[int, T] = {}
    for row in rows:
        if id(row.targets) not in by_id:
            if row.targets not in known:
                known[row.targets] = make(row.targets)
            by_id[id(row.targets)] = known[row.targets]
    return tuple(by_id[id(row.targets)] for row in rows)


def _heard(rows: tuple[Row, ...], plain: list[tuple[int, Who]], width: int) -> tuple[Side, AddressLookup]:
    """The source sets of these rows, by what their targets are; and by their addresses, of rows with traffic alone."""
    targets: dict[int, dict[Who, bool]] = defaultdict(dict)
    for number, who in plain:
        of_source = targets[rows[number].source]
        of_source[who] = of_source.get(who, False) or rows[number].traffic is not None
    together = [(source, _together(found)) for source, found in targets.items()]
    behind = (
        (source, union(who.ips for who, has_traffic in found.items() if has_traffic))
        for source, found in targets.items()
    )
    return _side(together, width), address_lookup(behind)


def _together(found: Iterable[Who]) -> Who:
    found = list(found)
    if len(found) == 1:
        return found[0]
    labels = frozenset[str]().union(*(who.labels for who in found))
    return Who(labels, union(who.ips for who in found), everyone=any(who.everyone for who in found))


def _side(numbered: Iterable[tuple[int, Who]], width: int) -> Side:
    by_who: dict[int, tuple[Who, Numbers]] = {}
    addressed: list[tuple[int, IPSet]] = []
    everyone: list[int] = []
    anything: list[int] = []
    for number, who in numbered:
        by_who.setdefault(id(who), (who, Numbers()))[1].listed.append(number)
        if who.ips:
            addressed.append((number, who.ips))
        if who.everyone:
            everyone.append(number)
        if who.anything:
            anything.append(number)
    by_label: dict[str, list[Numbers]] = defaultdict(list)
    for who, numbers in by_who.values():
        for label in who.labels:
            by_label[label].append(numbers)
    return Side(width, dict(by_label), address_lookup(addressed), tuple(everyone), tuple(anything))
