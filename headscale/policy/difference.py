"""Who gains and who loses access to what, when one policy takes the place of another.

Both are compared over the same nodes and users, by kinds of nodes and not one by one, and over the addresses that
either of them spells out.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headscale.errors import Malformed
from headscale.ipset import IPSet, of_spans
from headscale.policy.aliases import Addresses
from headscale.policy.compiled import Compiled
from headscale.policy.explain import protocol_name
from headscale.policy.paths import End, ends_of, node_end, own_devices, rows_between
from headscale.policy.ports import DEFAULT, WITH_PORTS
from headscale.policy.program import Program

# A comparison looks at every pair; beyond this many ends it would take minutes.
ENDS_MAX = 2000

# The ports that each protocol may use, by protocol number; for capabilities their names, with no ports.
Access = Mapping[str, IPSet]


@dataclass(frozen=True, slots=True)
class Difference:
    """What these sources may do at this target that they could not before (`gained`), or the other way round."""

    sources: tuple[str, ...]
    target: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]


def differences(old: Compiled, new: Compiled) -> tuple[Difference, ...]:
    """All that changes, by target; nothing when both policies mean the same. Raises Malformed for too many ends."""
    sources = _nodes(new)
    targets = [*sources, *_spelled(old, new)]
    if len(targets) > ENDS_MAX:
        raise Malformed(
            f"{len(targets)} kinds of nodes and addresses are too many to compare, {ENDS_MAX} can be"
        )
    found: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for source in sources:
        own = own_devices(new, source)
        for target in [*targets, *([own] if own else [])]:
            before, after = _access(old.program, source, target), _access(new.program, source, target)
            if before != after:
                gained, lost = _less(after, before), _less(before, after)
                found[target.name, gained, lost].append(source.name)
    return tuple(
        Difference(tuple(dict.fromkeys(names)), target, gained, lost)
        for (target, gained, lost), names in found.items()
    )


def _nodes(compiled: Compiled) -> list[End]:
    """One end for all nodes that no rule tells apart, named by their owner or tags."""
    found: dict[object, End] = {}
    for _, facts in sorted(compiled.nodes.items()):
        name = _name(compiled, facts.subject.user_id, facts.subject.tags)
        key = (facts.kind.labels, facts.node_class.sends, facts.rows)
        end = node_end(facts)
        found.setdefault(key, End(name, end.labels, end.user_id, end.addresses))
    return list(found.values())


def _name(compiled: Compiled, user_id: int | None, tags: tuple[str, ...]) -> str:
    if user_id is None:
        return "+".join(tags)
    person = compiled.people.get(user_id)
    return (person.email or person.name) if person else f"user {user_id}"


def _spelled(*policies: Compiled) -> list[End]:
    """What policies spell out and no node has: an address of each."""
    found: dict[str, End] = {}
    for compiled in policies:
        for row in compiled.program.rows:
            for alias in row.targets:
                if isinstance(alias, Addresses) and alias.text not in found:
                    ends = [end for end in ends_of(compiled, alias) if not end.labels]
                    found.update((alias.text, end) for end in ends[:1])
    return list(found.values())


def _access(program: Program, source: End, target: End) -> Access:
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number in rows_between(program, source, target):
        row = program.rows[number]
        if target.is_own and not program.targets[number].own:
            continue  # what others may do as well is said of the nodes
        if row.traffic is None:
            for capability in row.capabilities:
                spans[capability].append((0, 1))
            continue
        for protocol in DEFAULT if row.traffic.protocol is None else (row.traffic.protocol,):
            ports = row.traffic.ports if protocol in WITH_PORTS else ()
            spans[protocol_name(protocol)] += [(p.first, p.last + 1) for p in ports] or [(0, 1)]
    return {name: of_spans(found) for name, found in spans.items()}


def _less(more: Access, less: Access) -> tuple[str, ...]:
    rest = ((name, ports - less.get(name, IPSet())) for name, ports in sorted(more.items()))
    return tuple(_text(name, ports.spans()) for name, ports in rest if ports)


def _text(name: str, spans: Iterable[tuple[int, int]]) -> str:
    parts = [str(first) if past == first + 1 else f"{first}-{past - 1}" for first, past in spans]
    if parts == ["0"]:  # without ports
        return name
    return f"{name}:{'*' if parts in (['0-65535'], ['1-65535']) else ','.join(parts)}"
