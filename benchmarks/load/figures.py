"""The figures of a run: names, units, a table for people, JSON for programs, and ratios between two runs.

A figure that was not reached in its time is None. Times of two machines are compared through a reference: how long
this machine takes for a fixed piece of Python and cryptography.
"""

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

REFERENCE_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class Row:
    """A figure's key, what it is called, its unit, and whether it is one of time (the machine counts)."""

    key: str
    name: str
    unit: str
    decimals: int = 2


ROWS: Final = (
    Row("registrations", "registrations per second (50 at once)", "/s", 0),
    Row("registration_cpu", "server CPU per registration", "ms"),
    Row("known", "all maps opened at once: everyone knows everyone", "s"),
    Row("quiet", "… until the server has nothing more to say", "s"),
    Row("maps_cpu", "… server CPU", "s"),
    Row("messages", "… messages per client", "", 1),
    Row("change", "one endpoint change reaches the last client", "ms", 1),
    Row("change_cpu", "… server CPU per change", "ms", 1),
    Row("all_change", "every node changes its endpoint at once: last client has all", "s"),
    Row("all_change_cpu", "… server CPU", "s"),
    Row("reconnect", "a fifth reconnects: first map, p99", "s"),
    Row("reconnect_cpu", "… server CPU a round", "s"),
    Row("new_node", "a new node: seen by the last other", "ms", 1),
    Row("restart_up", "restart: the process answers", "s"),
    Row("restart", "… then everyone knows everyone again", "s"),
    Row("restart_lag", "… worst event-loop lag meanwhile", "ms", 0),
    Row("restart_cpu", "… server CPU, starting included", "s"),
    Row("policy", "a policy change: all clients have the new filter", "s"),
    Row("policy_cpu", "… server CPU", "s"),
    Row("idle", "resident memory, all connected and quiet", "MiB", 0),
    Row("peak", "resident memory, peak", "MiB", 0),
    Row("idle_client", "… of an idle client", "KiB", 0),
    Row("lag_p99", "event-loop lag under all this, p99", "ms", 0),
    Row("lag_max", "… worst", "ms", 0),
)
_TIMES: Final = frozenset({"/s", "ms", "s"})


@dataclass(frozen=True, slots=True)
class Case:
    """One tailnet's figures, by key. `troubles` is what went wrong, in words."""

    nodes: int
    with_policy: bool
    figures: dict[str, float | None]
    troubles: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The column's head."""
        return f"{self.nodes}{' + policy' if self.with_policy else ''}"


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run. `reference_ms` is the machine's speed, the median of several times during it."""

    server: str
    reference_ms: float
    workers: int
    cases: list[Case]


def reference_ms() -> float:
    """Milliseconds for a fixed piece of work in the mix of ours: dictionaries and key exchanges."""
    private = X25519PrivateKey.generate()
    public = private.public_key()

    def once() -> float:
        began = time.perf_counter()
        for _ in range(100):
            private.exchange(public)
            sum({number: str(number) for number in range(300)})
        return (time.perf_counter() - began) * 1000

    return statistics.median(once() for _ in range(REFERENCE_ROUNDS))


def as_json(report: Report) -> str:
    """The report for programs; `report_from` reads it."""
    return json.dumps(asdict(report), indent=1)


def report_from(text: str) -> Report:
    """What `as_json` wrote; raises ValueError, KeyError or TypeError for anything else."""
    raw: dict[str, Any] = json.loads(text)
    return Report(**{**raw, "cases": [Case(**case) for case in raw["cases"]]})


def table(report: Report) -> str:
    """The figures, a column a tailnet."""
    cells = {row.key: [_shown(case.figures.get(row.key), row) for case in report.cases] for row in ROWS}
    return _laid_out([case.title for case in report.cases], cells)


def ratios(report: Report, against: Report) -> str:
    """This run's figures divided by the other's, for tailnets that both have; the machines' speeds are taken out."""
    others = {(case.nodes, case.with_policy): case for case in against.cases}
    both = [case for case in report.cases if (case.nodes, case.with_policy) in others]
    speed = against.reference_ms / report.reference_ms
    cells = {
        row.key: [
            _ratio(case.figures, others[case.nodes, case.with_policy].figures, row, speed) for case in both
        ]
        for row in ROWS
    }
    return _laid_out([case.title for case in both], cells)


def _ratio(
    ours: Mapping[str, float | None], theirs: Mapping[str, float | None], row: Row, speed: float
) -> str:
    one, other = ours.get(row.key), theirs.get(row.key)
    if one is None or not other:
        return "–"
    ratio = one / other
    if row.unit in _TIMES:
        ratio *= 1 / speed if row.unit == "/s" else speed
    return f"{ratio:.2f}×"


def _shown(value: float | None, row: Row) -> str:
    return "–" if value is None else f"{value:,.{row.decimals}f} {row.unit}".rstrip()


def _laid_out(titles: Sequence[str], cells: Mapping[str, Sequence[str]]) -> str:
    shown = [row for row in ROWS if any(cell != "–" for cell in cells[row.key])]
    width = max((len(row.name) for row in shown), default=0)
    columns = [
        max([len(title), *(len(cells[row.key][at]) for row in shown)]) for at, title in enumerate(titles)
    ]
    lines = [
        "  ".join([" " * width, *(title.rjust(wide) for title, wide in zip(titles, columns, strict=True))])
    ]
    for row in shown:
        line = (cell.rjust(wide) for cell, wide in zip(cells[row.key], columns, strict=True))
        lines.append("  ".join([row.name.ljust(width), *line]))
    return "\n".join(lines)
