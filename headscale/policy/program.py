"""A policy resolved to labels, before any node: which rows a node meets, by its labels and addresses.

Sources and rows are numbered. What a node has of them is kept as an integer used as a bit set, so that asking
whether one node may reach another is an `and` of two numbers. Each source set has two bits, one a family, because
a rule for an IPv4 address admits nobody to an IPv6 one.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from headscale.ipset import IPSet, of_networks
from headscale.policy.aliases import Addresses, Alias
from headscale.policy.document import Document
from headscale.policy.grants import Row, rows_of
from headscale.policy.lookup import AddressLookup, address_lookup
from headscale.policy.who import Directory, Who, who_of

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
    """One side of the rows: the numbers that labels and addresses stand for.

    `everyone` are those with `*`, `anything` those with `autogroup:danger-all`.
    """

    by_label: dict[str, list[int]]
    by_address: AddressLookup
    everyone: tuple[int, ...]
    anything: tuple[int, ...]

    def of_labels(self, labels: Iterable[str]) -> set[int]:
        """The numbers that a node with these labels has."""
        return {number for label in labels for number in self.by_label.get(label, ())}


@dataclass(frozen=True, slots=True)
class Program:
    """See the module. `targets` are all of a row's targets together, `literals` its addresses one by one.

    `own_rows`, `internet_rows` (by family) and `via_rows` (by tag) are those that labels do not decide.
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
    own_rows: tuple[int, ...]
    internet_rows: tuple[frozenset[int], frozenset[int]]
    via_rows: dict[str, list[int]]
    own_sources: frozenset[int]
    bounds: tuple[int, ...]
    first_alike: dict[tuple[int, int | None], int]

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
    targets = tuple(who_of(row.targets) for row in found.rows)
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
        tuple(map(_spelled, found.rows)),
        found.sources,
        found.aliases,
        _side(enumerate(found.sources)),
        _side(plain),
        own_rows=tuple(number for number, who in plain if who.own),
        internet_rows=_internet_rows(found.rows, targets),
        via_rows=dict(via_rows),
        own_sources=frozenset(found.rows[number].source for number, who in plain if who.own),
        bounds=_bounds([tailnet, *(who.ips for who in (*targets, *found.sources))]),
        first_alike=_first_alike(found.rows),
    )


def _bounds(sets: Iterable[IPSet]) -> tuple[int, ...]:
    """Where any of these sets begins or ends."""
    return tuple(sorted({bound for ips in sets for bound in ips.bounds}))


def _internet_rows(rows: tuple[Row, ...], targets: tuple[Who, ...]) -> tuple[frozenset[int], frozenset[int]]:
    """The rows that exit nodes serve, by family: the whole internet, or public addresses (as the Go server does)."""
    found: tuple[set[int], set[int]] = (set(), set())
    for number, (row, who) in enumerate(zip(rows, targets, strict=True)):
        if row.via or not (who.internet or who.ips):
            continue
        spelled = _spelled(row)
        for family in (0, 1):
            if who.internet or any(is_public(ips, family) for ips in spelled):
                found[family].add(number)
    return frozenset(found[0]), frozenset(found[1])


def is_public(ips: IPSet, family: int) -> bool:
    """Whether these are addresses of this family (0 for IPv4), and all on the internet."""
    return ips.has_family((4, 6)[family]) and ips.is_within(INTERNET)


def _spelled(row: Row) -> tuple[IPSet, ...]:
    return tuple(alias.ips for alias in row.targets if isinstance(alias, Addresses))


def _first_alike(rows: tuple[Row, ...]) -> dict[tuple[int, int | None], int]:
    first: dict[tuple[int, int | None], int] = {}
    for number, row in enumerate(rows):
        if row.traffic is not None and not row.via:
            first.setdefault((row.source, row.traffic.protocol), number)
    return first


def _side(numbered: Iterable[tuple[int, Who]]) -> Side:
    by_label: dict[str, list[int]] = defaultdict(list)
    addressed: list[tuple[int, IPSet]] = []
    everyone: list[int] = []
    anything: list[int] = []
    for number, who in numbered:
        for label in who.labels:
            by_label[label].append(number)
        if who.ips:
            addressed.append((number, who.ips))
        if who.everyone:
            everyone.append(number)
        if who.anything:
            anything.append(number)
    return Side(dict(by_label), address_lookup(addressed), tuple(everyone), tuple(anything))


def bits_of(numbers: Iterable[int], width: int) -> int:
    """The bit set of these numbers, all below the width."""
    row = bytearray(width // 8 + 1)
    for number in numbers:
        row[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(row, "little")


def numbers_of(bits: int) -> Iterator[int]:
    """The numbers in a bit set, ascending."""
    row = bin(bits)[:1:-1]
    at = row.find("1")
    while at >= 0:
        yield at
        at = row.find("1", at + 1)
