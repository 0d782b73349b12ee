"""The page of a failed test: what went wrong, who reached whom, what each client was told, and all that happened.

It is made of the folder of evidence alone and of the history, so that it shows what is there, whichever client or
server could not be asked any more.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup

from harness.clients.maplog import changes
from harness.history import Entry, History, Source
from harness.masking import masked
from harness.report.drawing import draw, edges_of, edges_of_peers
from harness.report.pages import write_page
from harness.report.timeline import timeline
from harness.report.truth import truth_table

PAGE: Final = "report.html"
TIMELINE: Final = "timeline.jsonl"
ROWS_SHOWN: Final = 4000
"""Of the line of time, its last ones: browsers take their time with more."""
RESPONSES_SHOWN: Final = 60
RESPONSE_SHOWN: Final = 6000
"""Characters of one map response."""
FIELDS_SHOWN: Final = 600


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known beside the evidence. `facts` are pairs for the head of the page: versions, server, backend."""

    test: str
    reason: str
    rerun: str
    fact: str = ""
    trace: str = ""
    facts: Sequence[tuple[str, str]] = ()
    releases: Mapping[str, str] = field(default_factory=dict)
    """Of the clients, by name."""


def write_failure(folder: Path, failure: Failure, history: History) -> Path:
    """Write the page into the folder of evidence, and the whole line of time beside it."""
    entries = timeline(folder, history)
    (folder / TIMELINE).write_text("".join(f"{entry.line()}\n" for entry in entries))
    clients = [_client(folder, name, release) for name, release in failure.releases.items()]
    ways = list(history.ways.values())
    ours = {c["netmap"]["self"]["name"]: c["name"] for c in clients if c["netmap"]}
    netmaps = {
        c["name"]: [ours.get(peer["name"], peer["name"]) for peer in c["netmap"]["peers"]]
        for c in clients
        if c["netmap"]
    }
    edges = edges_of(ways) if ways else edges_of_peers(netmaps)
    missing = folder / "missing.txt"
    shown = entries[-ROWS_SHOWN:]
    write_page(
        folder / PAGE,
        "failure.html",
        failure=_masked(failure),
        table=truth_table(ways),
        drawing=Markup(draw(failure.releases, edges)),  # noqa: S704 - it escapes what it is given
        clients=clients,
        entries=[_row(entry) for entry in shown],
        left_out=len(entries) - len(shown),
        sources=_counted(shown),
        everybody=sorted({entry.who for entry in shown if entry.who}),
        files=list(_files(folder)),
        missing=missing.read_text().strip() if missing.exists() else "",
    )
    return folder / PAGE


def _masked(failure: Failure) -> Failure:
    facts = [(name, masked(value)) for name, value in failure.facts]
    return Failure(
        failure.test,
        masked(failure.reason),
        masked(failure.rerun),
        failure.fact,
        masked(failure.trace),
        facts,
        failure.releases,
    )


def _counted(entries: Sequence[Entry]) -> list[tuple[str, int]]:
    counts = Counter(entry.source for entry in entries)
    return [(str(source), counts[source]) for source in Source if counts[source]]


def _row(entry: Entry) -> dict[str, Any]:
    fields = "  ".join(f"{name}={_text(value)}" for name, value in entry.fields.items())
    probed = entry.fields.get("expected", "") != entry.fields.get("actual", "")
    return {
        "at": f"{entry.at:.3f}",
        "wall": entry.wall.isoformat(timespec="milliseconds"),
        "source": str(entry.source),
        "who": entry.who,
        "event": entry.event,
        "fields": fields if len(fields) <= FIELDS_SHOWN else f"{fields[:FIELDS_SHOWN]}…",
        "bad": (entry.source is Source.PROBE and probed and "expected" in entry.fields)
        or "Traceback" in fields,
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _client(folder: Path, name: str, release: str) -> dict[str, Any]:
    """What the folder has of a client. One whose netmap nobody could read shows none."""
    responses: list[dict[str, Any]] = []
    netmap = None
    try:
        for line in (folder / name / "maps.jsonl").read_text().splitlines():
            told = json.loads(line)
            netmap = told["netmap"]
            responses.append(_response(told))
    except (OSError, ValueError):
        pass
    return {"name": name, "release": release, "netmap": netmap, "responses": responses[-RESPONSES_SHOWN:]}


def _response(told: Mapping[str, Any]) -> dict[str, Any]:
    text = json.dumps(told["response"], indent=1, ensure_ascii=False)
    return {
        "logged": str(told["logged"] or "")[11:19],
        "kind": told["kind"],
        "says": changes(told["response"]),
        "text": text
        if len(text) <= RESPONSE_SHOWN
        else f"{text[:RESPONSE_SHOWN]}\n… the rest is in maps.jsonl",
        "peers": ", ".join(
            f"{p['name']}{'' if p['online'] else ' (offline)'}" for p in told["netmap"]["peers"]
        ),
        "rules": len(told["netmap"]["rules"]),
    }


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != PAGE and not path.name.startswith("."):
            yield quote(path.relative_to(folder).as_posix()), _size(path.stat().st_size)


def _size(count: int) -> str:
    return (
        f"{count} B" if count < 1000 else f"{count / 1000:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"
    )
