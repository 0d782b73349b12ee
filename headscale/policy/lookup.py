"""Finding the numbered sets that an address is in or a network meets, without looking at each."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from headscale.ipset import IPSet

# Between two sets that are kept so many bounds are gone through one by one.
STRIDE: Final = 256


@dataclass(frozen=True, slots=True)
class AddressLookup:
    """All bounds of numbered sets in order, each with the number of the set that begins or ends there.

    Before every STRIDE-th bound it is kept which sets have begun and not ended, as bytes of a bit set. An answer takes
    the nearest of these, and turns over the bits of the few bounds that follow: the cost is the same however many
    sets an address is in.
    """

    _bounds: tuple[int, ...] = ()
    _numbers: tuple[int, ...] = ()
    _kept: tuple[bytes, ...] = (b"",)

    def __bool__(self) -> bool:
        return bool(self._bounds)

    def containing(self, point: int) -> int:
        """The numbers of the sets that this point is in, as bits."""
        return int.from_bytes(self._at(bisect_right(self._bounds, point)), "little")

    def meeting(self, first: int, past: int) -> int:
        """The numbers of the sets with any point from first to before past, as bits."""
        at = bisect_right(self._bounds, first)
        row = self._at(at)
        for number in self._numbers[at : bisect_left(self._bounds, past)]:
            row[number >> 3] |= 1 << (number & 7)
        return int.from_bytes(row, "little")

    def _at(self, bound: int) -> bytearray:
        """The sets that have begun and not ended before this bound."""
        kept = bound // STRIDE
        row = bytearray(self._kept[kept])
        for number in self._numbers[kept * STRIDE : bound]:
            row[number >> 3] ^= 1 << (number & 7)
        return row


def address_lookup(sets: Iterable[tuple[int, IPSet]]) -> AddressLookup:
    """A lookup over these numbered sets; each number comes once."""
    bounds = sorted((bound, number) for number, ips in sets for bound in ips.bounds)
    row = bytearray(max((number for _, number in bounds), default=-1) // 8 + 1)
    kept: list[bytes] = []
    for at, (_, number) in enumerate(bounds):
        if at % STRIDE == 0:
            kept.append(bytes(row))
        row[number >> 3] ^= 1 << (number & 7)
    if len(bounds) % STRIDE == 0:
        kept.append(bytes(row))
    return AddressLookup(tuple(b for b, _ in bounds), tuple(n for _, n in bounds), tuple(kept))
