"""A drawing of a tailnet: its machines on a circle, and who reaches whom, as SVG that stands alone in a page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final, Literal

from harness.history import Way

Verdict = Literal["yes", "no", "part", "wrong", "sees"]
"""All ways work, none does and none should, some do as they should, one is not as expected; or only a netmap tells."""

WORDS: Final[Mapping[Verdict, str]] = {
    "yes": "reaches",
    "no": "does not reach, as expected",
    "part": "reaches in part, as expected",
    "wrong": "is not as expected towards",
    "sees": "has as a peer",
}
RADIUS: Final = 105
LABEL: Final = 16
MARGIN_X: Final = 120
MARGIN_Y: Final = 34
DOT: Final = 7
APART: Final = 4
"""Between the two lines of a pair whose directions differ."""


@dataclass(frozen=True, slots=True)
class Edge:
    """From one machine to another."""

    source: str
    target: str
    verdict: Verdict


def edges_of(ways: Iterable[Way]) -> list[Edge]:
    """One edge for all ways of a prober to a target."""
    by_pair: dict[tuple[str, str], list[Way]] = {}
    for way in ways:
        by_pair.setdefault((way.prober, way.target), []).append(way)
    return [Edge(*pair, _verdict(found)) for pair, found in sorted(by_pair.items())]


def _verdict(ways: Sequence[Way]) -> Verdict:
    if not all(way.as_wanted for way in ways):
        return "wrong"
    wanted = {way.want for way in ways}
    return "part" if len(wanted) == 2 else "yes" if wanted == {True} else "no"


def edges_of_peers(peers: Mapping[str, Iterable[str]]) -> list[Edge]:
    """Who has whom in its netmap, for want of a measured matrix."""
    return [Edge(name, peer, "sees") for name, others in sorted(peers.items()) for peer in sorted(others)]


def as_json(nodes: Mapping[str, str], edges: Sequence[Edge]) -> dict[str, Any]:
    """Small enough for a line of results."""
    return {"nodes": dict(nodes), "edges": [[e.source, e.target, e.verdict] for e in edges]}


def from_json(told: Mapping[str, Any]) -> str:
    """The drawing of what `as_json` made."""
    return draw(told["nodes"], [Edge(*edge) for edge in told["edges"]])


def draw(nodes: Mapping[str, str], edges: Sequence[Edge]) -> str:
    """The machines (name to release) and the edges between them; empty without machines.

    Both directions alike are one line, else each has an arrow. Colours are the page's, by class.
    """
    names = list(dict.fromkeys([*nodes, *(n for e in edges for n in (e.source, e.target))]))
    if not names:
        return ""
    radius = RADIUS + 6 * max(0, len(names) - 8)
    places = _on_circle(names, radius)
    width = 2 * (radius + MARGIN_X)
    top, bottom = (round(pick(y for _, y in places.values())) for pick in (min, max))
    height = bottom - top + 2 * MARGIN_Y
    parts = [
        f'<svg class="tailnet" viewBox="{-width // 2} {top - MARGIN_Y} {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(_in_words(names, edges))}">'
    ]
    parts += _lines(edges, places)
    for name in names:
        parts += _machine(name, nodes.get(name, ""), *places[name])
    return "".join([*parts, "</svg>"])


def _on_circle(names: Sequence[str], radius: float) -> dict[str, tuple[float, float]]:
    if len(names) == 1:
        return {names[0]: (0.0, 0.0)}
    turns = [2 * math.pi * number / len(names) - math.pi / 2 for number in range(len(names))]
    return {n: (radius * math.cos(t), radius * math.sin(t)) for n, t in zip(names, turns, strict=True)}


def _lines(edges: Sequence[Edge], places: Mapping[str, tuple[float, float]]) -> list[str]:
    verdicts = {(edge.source, edge.target): edge.verdict for edge in edges}
    lines, done = [], set()
    for (source, target), verdict in sorted(verdicts.items(), key=lambda each: each[1] == "wrong"):
        if (source, target) in done or source == target:
            continue
        both = verdicts.get((target, source)) == verdict
        if both:
            done.add((target, source))
        lines.append(_line(source, target, verdict, places, both=both))
    return lines


def _line(
    source: str, target: str, verdict: Verdict, places: Mapping[str, tuple[float, float]], *, both: bool
) -> str:
    (x1, y1), (x2, y2) = places[source], places[target]
    length = math.hypot(x2 - x1, y2 - y1)
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    aside = 0 if both else APART  # the line of the other direction lies on the other side
    gap = DOT + 4
    x1, y1 = x1 + ux * gap - uy * aside, y1 + uy * gap + ux * aside
    x2, y2 = x2 - ux * gap - uy * aside, y2 - uy * gap + ux * aside
    line = f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
    head = "" if both else _arrow(x2, y2, ux, uy)
    title = f"{source} {WORDS[verdict]} {target}" + (", and the other way round" if both else "")
    return f'<g class="{verdict}"><title>{escape(title)}</title>{line}{head}</g>'


def _arrow(x: float, y: float, ux: float, uy: float) -> str:
    back_x, back_y = x - ux * 8, y - uy * 8
    corners = [(x, y), (back_x - uy * 4, back_y + ux * 4), (back_x + uy * 4, back_y - ux * 4)]
    return f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in corners)}"/>'


def _machine(name: str, release: str, x: float, y: float) -> list[str]:
    anchor = "middle" if abs(x) < RADIUS / 3 else "start" if x > 0 else "end"
    tx = x if anchor == "middle" else x + math.copysign(DOT + 6, x)
    ty = y + math.copysign(DOT + LABEL, y) if anchor == "middle" else y + 4
    shown = name if len(name) <= LABEL else f"{name[: LABEL - 1]}…"
    beside = f'<tspan class="release"> {escape(release)}</tspan>' if release else ""
    title = f"<title>{escape(f'{name} {release}'.strip())}</title>"
    return [
        f'<g class="machine">{title}<circle cx="{x:.1f}" cy="{y:.1f}" r="{DOT}"/>',
        f'<text x="{tx:.1f}" y="{ty:.1f}" text-anchor="{anchor}">{escape(shown)}{beside}</text></g>',
    ]


def _in_words(names: Sequence[str], edges: Sequence[Edge]) -> str:
    wrong = [f"{edge.source} to {edge.target}" for edge in edges if edge.verdict == "wrong"]
    surprises = f"; not as expected: {', '.join(wrong)}" if wrong else ""
    return f"A tailnet of {len(names)} machines: {', '.join(names)}{surprises}"
