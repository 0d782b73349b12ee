"""Which path two clients really take, by `tailscale ping`, and the grid of all pairs for people."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.clients.base import Client
from harness.errors import HarnessError
from harness.lab.nat import Path
from harness.wait import Budget

PINGS = 6
"""A relayed pair is given so many tries, a second apart, to find a direct path against the prediction: it takes one
round trip of the endpoints through the relay."""

PATIENT_PINGS = 20
"""A direct path may come late on a loaded machine."""

PONG = re.compile(r"pong from \S+ \(\S+\) via (?P<way>DERP\(\S+\)|\S+) in")


@dataclass(frozen=True, slots=True)
class Seen:
    """How the last answer came: by a relay, `DERP(code)`, or from an address and port."""

    way: str

    @property
    def direct(self) -> bool:
        """Whether it came directly."""
        return not self.way.startswith("DERP(")


async def path_between(one: Client, other: Client, *, wanted: Path) -> Seen:
    """Ping until the path is direct; give up early where the relay is what is wanted. Raises HarnessError when no
    answer comes at all."""
    count = PATIENT_PINGS if wanted.direct else PINGS
    words = ["ping", "--until-direct", f"--c={count}", "--timeout=2s", str(other.address(4))]
    result = await one.cli(*words, budget=Budget.PATH)
    found = PONG.findall(result.message)
    if not found:
        raise HarnessError(f"{one.name} got no pong from {other.name}: {result.message}")
    return Seen(found[-1])


def grid(
    ways: Sequence[str],
    expected: Mapping[tuple[str, str], Path],
    seen: Mapping[tuple[str, str], Seen],
) -> str:
    """A row and a column for each way to the internet; then why, and how each pair really went.

    Cells: `direct` and `relayed` as predicted, `DIRECT` and `RELAYED` against the prediction.
    """

    def cell(row: str, column: str) -> str:
        pair = (row, column) if (row, column) in seen else (column, row)
        word = "direct" if seen[pair].direct else "relayed"
        return word if word == str(expected[pair]) else word.upper()

    rows = [["", *ways], *([row, *(cell(row, column) for column in ways)] for row in ways)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines += [
        f"{a} and {b}: {expected[a, b]} ({expected[a, b].reason}); seen: {seen[a, b].way}" for a, b in seen
    ]
    return "\n".join(lines) + "\n"
