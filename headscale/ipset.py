"""Immutable sets of IP addresses, kept as intervals of integers; IPv4 and IPv6 in one set.

Both families live on one number line: an IPv6 address is its integer plus 2^128, so that no IPv4 address can
meet it. A set is the sorted row of its bounds, `(first, past, first, past, …)`, with gaps between neighbours: equal
sets have equal rows, an address is inside when an odd number of bounds is not above it, and union and difference
are one pass over both.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    summarize_address_range,
)
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_V6: Final = 1 << 128


def point(address: Address) -> int:
    """The address on the number line."""
    return int(address) + _V6 if address.version == 6 else int(address)


def span(network: Network) -> tuple[int, int]:
    """The network's first point and the one past its last."""
    first = point(network.network_address)
    return first, first + network.num_addresses


@dataclass(frozen=True, slots=True)
class IPSet:
    """See the module. Make one with `of_networks`, `of_range` or `of_spans`."""

    bounds: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.bounds)

    def __contains__(self, address: Address) -> bool:
        return self.has_point(point(address))

    def has_point(self, value: int) -> bool:
        """Whether this point of the number line is inside."""
        return bisect_right(self.bounds, value) & 1 == 1

    def __or__(self, other: "IPSet") -> "IPSet":
        if not self.bounds or self.bounds == other.bounds:
            return other
        return of_spans([*self.spans(), *other.spans()]) if other.bounds else self

    def __sub__(self, other: "IPSet") -> "IPSet":
        return _combine(self, other, keep=lambda ours, theirs: ours and not theirs)

    def __and__(self, other: "IPSet") -> "IPSet":
        return _combine(self, other, keep=lambda ours, theirs: ours and theirs)

    def overlaps(self, network: Network) -> bool:
        """Whether they have an address in common."""
        return self.meets(*span(network))

    def meets(self, first: int, past: int) -> bool:
        """Whether any point from first to before past is inside."""
        at = bisect_right(self.bounds, first)
        return at & 1 == 1 or (at < len(self.bounds) and self.bounds[at] < past)

    def covers(self, network: Network) -> bool:
        """Whether every address of the network is inside."""
        return self.holds(*span(network))

    def holds(self, first: int, past: int) -> bool:
        """Whether all points from first to before past are inside."""
        at = bisect_right(self.bounds, first)
        return at & 1 == 1 and past <= self.bounds[at]

    def is_within(self, other: "IPSet") -> bool:
        """Whether the other set has every address of this one."""
        return all(other.holds(first, past) for first, past in self.spans())

    def has_family(self, version: int) -> bool:
        """Whether any address of this family (4 or 6) is inside."""
        return bool(self.bounds) and (self.bounds[0] < _V6 if version == 4 else self.bounds[-1] > _V6)

    def spans(self) -> Iterator[tuple[int, int]]:
        """The intervals in order, each as its first point and the one past its last."""
        return zip(self.bounds[::2], self.bounds[1::2], strict=True)

    def with_point(self, value: int) -> "IPSet":
        """The set with this one point more; cheaper than a union."""
        at = bisect_right(self.bounds, value)
        if at & 1:
            return self
        row = self.bounds
        left = at > 0 and row[at - 1] == value
        right = at < len(row) and row[at] == value + 1
        middle = () if left and right else (value + 1,) if left else (value,) if right else (value, value + 1)
        return IPSet(row[: at - left] + middle + row[at + right :])

    def without_point(self, value: int) -> "IPSet":
        """The set without this one point."""
        at = bisect_right(self.bounds, value)
        if not at & 1:
            return self
        row = self.bounds
        left = row[at - 1] == value
        right = row[at] == value + 1
        middle = () if left and right else (value + 1,) if left else (value,) if right else (value, value + 1)
        return IPSet(row[: at - left] + middle + row[at + right :])

    def networks(self) -> Iterator[Network]:
        """The smallest list of networks that is this set."""
        for first, last in self.ranges():
            yield from summarize_address_range(first, last)

    def ranges(self) -> Iterator[tuple[Address, Address]]:
        """The intervals in order as first and last address, both included."""
        for first, past in self.spans():
            if first >= _V6:
                yield IPv6Address(first - _V6), IPv6Address(past - 1 - _V6)
            else:
                yield IPv4Address(first), IPv4Address(past - 1)

    def texts(self) -> tuple[str, ...]:
        """Each interval as filter rules spell it: an address, a network, or a range `first-last`."""
        return tuple(text_of(first, past) for first, past in self.spans())


EMPTY: Final = IPSet()
EVERYTHING: Final = IPSet((0, 1 << 32, _V6, _V6 + (1 << 128)))


def of_spans(spans: Iterable[tuple[int, int]]) -> IPSet:
    """The union of these intervals, which may overlap and come in any order."""
    row: list[int] = []
    for first, past in sorted(spans):
        if row and first <= row[-1]:
            row[-1] = max(row[-1], past)
        else:
            row += (first, past)
    return IPSet(tuple(row))


def of_points(points: Iterable[int]) -> IPSet:
    """The set of these points."""
    return of_spans((value, value + 1) for value in points)


def of_addresses(addresses: Iterable[Address]) -> IPSet:
    """The set of these addresses."""
    return of_points(map(point, addresses))


def of_networks(*networks: Network) -> IPSet:
    """The union of these networks."""
    return of_spans(map(span, networks))


def of_range(first: Address, last: Address) -> IPSet:
    """All addresses from first to last, both included. Raises ValueError when they are no range."""
    if first.version != last.version or int(first) > int(last):
        raise ValueError(f"{first}-{last} is no range of addresses")
    return IPSet((point(first), point(last) + 1))


def union(sets: Iterable[IPSet]) -> IPSet:
    """The union of all of them."""
    parts = [part for part in sets if part.bounds]
    if len(parts) <= 1:
        return parts[0] if parts else EMPTY
    return of_spans(pair for part in parts for pair in part.spans())


def _combine(ours: IPSet, theirs: IPSet, *, keep: Callable[[bool, bool], bool]) -> IPSet:
    """One pass over the bounds of both: what is kept where we are and they are, or are not."""
    row: list[int] = []
    for at in sorted({*ours.bounds, *theirs.bounds}):
        inside = keep(bisect_right(ours.bounds, at) & 1 == 1, bisect_right(theirs.bounds, at) & 1 == 1)
        if inside != (len(row) & 1 == 1):
            row.append(at)
    return IPSet(tuple(row))


def text_of(first: int, past: int) -> str:
    """One interval as filter rules spell it: an address, a network, or a range `first-last`."""
    make = IPv6Address if first >= _V6 else IPv4Address
    base = _V6 if first >= _V6 else 0
    size = past - first
    if size == 1:
        return str(make(first - base))
    if size & (size - 1) == 0 and (first - base) % size == 0:
        bits = 128 if base else 32
        return f"{make(first - base)}/{bits - size.bit_length() + 1}"
    return f"{make(first - base)}-{make(past - 1 - base)}"
