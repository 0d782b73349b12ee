"""May this reach that, and why: the rules behind the answer, the same for all nodes that the policy takes for alike."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from headscale.api.questions import Asked, Naming, read_question
from headscale.errors import Malformed
from headscale.policy.compiled import Compiled
from headscale.policy.explain import Explanation, Reason, explain, listed, protocol_name
from headscale.policy.paths import End, heard_by, own_devices, sent_by
from headscale.policy.subjects import EXIT_ROUTES
from headscale.records import Node
from headscale.state.routes import in_force
from headscale.state.snapshot import Snapshot

# Each pair of unlike ends is answered by itself; nobody reads more.
PAIRS_MAX: Final = 1000


class Question(msgspec.Struct, frozen=True):
    """The body of a question: `destination` is DST or DST:PORT, `policy` the text of another than the one in force."""

    source: str = ""
    destination: str = ""
    protocol: str = ""
    policy: str | None = None


class Rule(msgspec.Struct, frozen=True):
    """A rule: where it stands in the policy (line 0: there is no policy), and what it says."""

    path: str
    line: int
    says: str


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """The same answer for each of these sources and targets; lists and counts are those of `Explanation`."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    allowed: bool
    through: tuple[str, ...]
    by: tuple[Rule, ...]
    nearly: tuple[Rule, ...]
    others: tuple[Rule, ...]
    by_more: int
    nearly_more: int
    others_more: int


class Explained(msgspec.Struct, frozen=True):
    """All answers; `allowed` when every one is yes. `protocol` may be several, or "anything"."""

    source: str
    destination: str
    protocol: str
    port: int | None
    allowed: bool
    answers: tuple[Answer, ...]
    notes: tuple[str, ...]


def explained(snapshot: Snapshot, compiled: Compiled, question: Question) -> Explained:
    """What this policy says of the question. Raises Malformed or NotFound for words that mean nothing here."""
    asked = read_question(question.source, question.destination, question.protocol)
    naming = Naming(snapshot, compiled)
    sources, targets = naming.sources(asked.source), naming.targets(asked.target)
    answers = tuple(_merged(_answers(compiled, sources, targets, asked)))
    if not answers and targets is None:
        raise Malformed(f"{asked.source} is no user's: nothing is its own device")
    if not answers:
        raise Malformed(f"{asked.source} and {asked.target} are the same node, which always reaches itself")
    ends = (*sources, *(targets or ()))
    missing = dict.fromkeys(
        f"{end.name} has no node: answered for one that it may get"
        for end in ends
        if end.labels and not end.addresses
    )
    return Explained(
        asked.source,
        asked.target,
        " or ".join(protocol_name(packet.protocol) for packet in asked.packets) or "anything",
        asked.packets[0].port if asked.packets else None,
        all(answer.allowed for answer in answers),
        answers,
        (*missing, *(way for end in targets or () for way in _ways(snapshot, end))),
    )


def _answers(
    compiled: Compiled, sources: list[End], targets: list[End] | None, asked: Asked
) -> Iterator[tuple[list[End], list[End], Explanation]]:
    """An explanation for each pair of unlike ends."""
    by_source = _alike(
        sources, lambda end: (end.user_id, *(sent_by(compiled.program, end, f) for f in (4, 6)))
    )
    if targets is None:
        for alike in by_source:
            own = own_devices(compiled, alike[0])
            if own is not None:
                yield alike, [own], explain(compiled, alike[0], own, *asked.packets)
        return
    by_target = _alike(
        targets, lambda end: (end.user_id, *(heard_by(compiled.program, end, f) for f in (4, 6)))
    )
    if len(by_source) * len(by_target) > PAIRS_MAX:
        raise Malformed(
            f"{asked.source} and {asked.target} are {len(by_source)} × {len(by_target)} kinds of nodes, "
            f"too many to answer at once: name fewer"
        )
    for some in by_source:
        for others in by_target:
            if not (some == others and len(some) == 1 and some[0].addresses and some[0].labels):
                yield some, others, explain(compiled, some[0], others[0], *asked.packets)


def _alike(ends: list[End], key: Callable[[End], object]) -> list[list[End]]:
    found: dict[object, list[End]] = {}
    for end in ends:
        found.setdefault((key(end), end.families), []).append(end)
    return [*found.values()]


def _merged(pairs: Iterable[tuple[list[End], list[End], Explanation]]) -> Iterator[Answer]:
    """One answer for all sources of the same targets, and then for all targets of the same sources."""
    rows: dict[tuple[tuple[str, ...], object], tuple[list[str], Explanation]] = {}
    for sources, targets, found in pairs:
        names = tuple(end.name for end in targets)
        rows.setdefault((names, _substance(found)), ([], found))[0].extend(end.name for end in sources)
    columns: dict[tuple[tuple[str, ...], object], tuple[list[str], Explanation]] = {}
    for (targets_of, substance), (sources_of, found) in rows.items():
        key = (tuple(dict.fromkeys(sources_of)), substance)
        columns.setdefault(key, ([], found))[0].extend(targets_of)
    for (from_names, _), (to_names, found) in columns.items():
        yield Answer(
            from_names,
            tuple(dict.fromkeys(to_names)),
            found.allowed,
            found.through,
            _rules(found.by),
            _rules(found.nearly),
            _rules(found.others),
            found.by_more,
            found.nearly_more,
            found.others_more,
        )


def _substance(found: Explanation) -> object:
    """What is the same in equal answers."""
    more = (found.by_more, found.nearly_more, found.others_more)
    return found.by, found.nearly, found.others, more, found.through


def _rules(reasons: tuple[Reason, ...]) -> tuple[Rule, ...]:
    return tuple(Rule(reason.path, reason.line, reason.says) for reason in reasons)


def _ways(snapshot: Snapshot, end: End) -> Iterator[str]:
    """How packets get to a target that is no node; a policy may allow what nothing leads to."""
    if end.labels or not (end.addresses or end.is_public):
        return
    covering = [r for a in end.addresses for r in snapshot.routers if r.version == a.version and a in r]
    if covering:
        route = max(covering, key=lambda route: route.prefixlen)
        primary = snapshot.nodes.get(snapshot.primaries.get(route, 0))
        through = f"through {primary.given_name}" if primary else "though no router of it is online"
        yield f"the way to {end.name} is the route {route}, {through}"
        return
    exits = [node for i in sorted(snapshot.gateways) if _is_exit(node := snapshot.nodes[i])]
    if end.is_public and exits:
        yield f"the way to {end.name} is an exit node: {listed(node.given_name for node in exits)}"
    else:
        yield f"no node leads to {end.name}, so nobody gets there whatever the policy says"


def _is_exit(node: Node) -> bool:
    return any(route in EXIT_ROUTES for route in in_force(node))
