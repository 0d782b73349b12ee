"""Finding the numbered sets that an address is in or a network meets, without looking at each."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from headscale.ipset import IPSet, span


@dataclass(frozen=True, slots=True)
class AddressLookup:
    """Sets of addresses by number, filed by the size of the networks that they are made of.

    There are at most 33 + 129 sizes, and for each the one network that an address could be in is known.
    """

    _filed: dict[int, dict[int, list[int]]] = field(default_factory=dict)
    _firsts: dict[int, list[int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._filed)

    def containing(self, point: int) -> Iterator[int]:
        """The numbers of the sets that this point is in; one may come twice."""
        for size, filed in self._filed.items():
            # 2^128, where IPv6 begins, is a multiple of every size: networks are aligned in both families.
            yield from filed.get(point - point % size, ())

    def meeting(self, first: int, past: int) -> Iterator[int]:
        """The numbers of the sets with any point from first to before past, which is a network; maybe twice."""
        for size, filed in self._filed.items():
            if size >= past - first:
                yield from filed.get(first - first % size, ())
                continue
            firsts = self._firsts[size]
            for at in firsts[bisect_left(firsts, first) : bisect_left(firsts, past)]:
                yield from filed[at]


def address_lookup(sets: Iterable[tuple[int, IPSet]]) -> AddressLookup:
    """A lookup over these numbered sets."""
    filed: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, ips in sets:
        for network in ips.networks():
            first, past = span(network)
            filed[past - first][first].append(number)
    plain = {size: dict(by_first) for size, by_first in filed.items()}
    return AddressLookup(plain, {size: sorted(by_first) for size, by_first in plain.items()})
