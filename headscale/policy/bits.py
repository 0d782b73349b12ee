"""Sets of small numbers as the bits of an integer, so that to ask whether two have one in common is an `and`."""

from collections.abc import Iterable, Iterator
from typing import Final

# So many numbers are taken out of a bit set one by one; for more it is spelled out first.
_FEW: Final = 4


def bits_of(numbers: Iterable[int], width: int) -> int:
    """The bit set of these numbers, all below the width."""
    row = bytearray(width // 8 + 1)
    for number in numbers:
        row[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(row, "little")


def numbers_of(bits: int) -> Iterator[int]:
    """The numbers in a bit set, ascending."""
    if bits.bit_count() <= _FEW:
        while bits:
            least = bits & -bits
            yield least.bit_length() - 1
            bits ^= least
        return
    row = bin(bits)[:1:-1]
    at = row.find("1")
    while at >= 0:
        yield at
        at = row.find("1", at + 1)


def lowest(bits: int) -> int | None:
    """The least number in a bit set; None in an empty one."""
    return (bits & -bits).bit_length() - 1 if bits else None
