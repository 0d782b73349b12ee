"""Finding the numbered sets that an address is in or a network meets, without looking at each."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headscale.ipset import IPSet


@dataclass(frozen=True, slots=True)
class AddressLookup:
    """The intervals of numbered sets, sorted by their first points, under a tree of where they end at the latest.

    The tree is a heap in a list: node n has the children 2n and 2n+1, and the intervals are the leaves.
    """

    _firsts: tuple[int, ...] = ()
    _numbers: tuple[int, ...] = ()
    _latest: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def containing(self, point: int) -> Iterator[int]:
        """The numbers of the sets that this point is in; one may come twice."""
        return self.meeting(point, point + 1)

    def meeting(self, first: int, past: int) -> Iterator[int]:
        """The numbers of the sets with any point from first to before past; one may come twice."""
        begun = bisect_left(self._firsts, past)
        leaves = len(self._latest) // 2
        todo = [1] if begun else []
        while todo:
            node = todo.pop()
            if self._latest[node] <= first:
                continue
            if node >= leaves:
                if node - leaves < begun:
                    yield self._numbers[node - leaves]
                continue
            todo += (2 * node + 1, 2 * node) if self._leftmost(2 * node + 1) < begun else (2 * node,)

    def _leftmost(self, node: int) -> int:
        """The first interval below this node."""
        leaves = len(self._latest) // 2
        return (node << (leaves.bit_length() - node.bit_length())) - leaves


def address_lookup(sets: Iterable[tuple[int, IPSet]]) -> AddressLookup:
    """A lookup over these numbered sets."""
    spans = sorted((first, past, number) for number, ips in sets for first, past in ips.spans())
    if not spans:
        return AddressLookup()
    leaves = 1 << (len(spans) - 1).bit_length()
    latest = [0] * leaves + [past for _, past, _ in spans] + [0] * (leaves - len(spans))
    for node in range(leaves - 1, 0, -1):
        latest[node] = max(latest[2 * node], latest[2 * node + 1])
    return AddressLookup(tuple(s[0] for s in spans), tuple(s[2] for s in spans), tuple(latest))
