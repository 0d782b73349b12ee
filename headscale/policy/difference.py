"""Who gains and who loses access to what, when one policy takes the place of another.

Both are compared over the same nodes and users. Nodes that no rule of either policy tells apart are compared once;
so are the addresses that rules and routes spell out, cut where any of them begins or ends. Users without a node,
and tags that no node has, count as those that they may get.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Final

from headscale.errors import Malformed
from headscale.ipset import IPSet, of_networks, of_spans, point, span
from headscale.policy.aliases import Addresses
from headscale.policy.compiled import Compiled
from headscale.policy.document import SSH
from headscale.policy.explain import listed, protocol_name
from headscale.policy.facts import kind_of, subnets
from headscale.policy.lookup import address_lookup
from headscale.policy.paths import NO_NAMES, End, heard_by, node_end, sent_by
from headscale.policy.ports import DEFAULT, WITH_PORTS
from headscale.policy.program import INTERNET
from headscale.policy.ssh import ssh_rules_of
from headscale.policy.subjects import Person
from headscale.policy.who import TAGGED, Kind

# A comparison looks at every pair; beyond this many it would take minutes.
ENDS_MAX: Final = 2000
OWN: Final = "autogroup:self"

# The ports that each protocol may use, by protocol name; for capabilities and SSH their names, with no ports.
Access = Mapping[str, IPSet]


@dataclass(frozen=True, slots=True)
class Difference:
    """What these sources may do at this target that they could not before (`gained`), or the other way round."""

    sources: tuple[str, ...]
    target: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]


def differences(
    old: Compiled, new: Compiled, names: Mapping[int, str] = NO_NAMES
) -> tuple[Difference, ...]:
    """All access that changes, by target; nothing when both mean the same. Raises Malformed for too many ends.

    `names` are what nodes are called, by id.
    """
    groups = _groups(old, new, names)
    if len(groups) > ENDS_MAX:
        raise Malformed(
            f"{len(groups)} kinds of nodes and addresses are too many to compare, {ENDS_MAX} can be"
        )
    pair = _Pair(_Policy(old), _Policy(new))
    found: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for target in groups:
        for source in groups:
            alone, together = _relation(source, target)
            change = NOTHING if alone else pair.change(source, target, own=False)
            own = pair.change(source, target, own=True) if together else NOTHING
            if change != NOTHING:
                found[listed(target.names), *change] += source.names
            if own not in (NOTHING, change):
                found[OWN, *own] += source.names
    return tuple(
        Difference(tuple(dict.fromkeys(sources)), target, gained, lost)
        for (target, gained, lost), sources in found.items()
    )


@dataclass(frozen=True, slots=True)
class _View:
    """What one policy makes of an end, by family: the source sets that it is in, the rows that are about it; and
    the SSH rules on either side of which it is."""

    sources: tuple[frozenset[int], frozenset[int]]
    rows: tuple[frozenset[int], frozenset[int]]
    families: frozenset[int]
    ssh_from: frozenset[int]
    ssh_to: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Group:
    """Ends that neither policy tells apart, what they are called, and whose devices they are (None: nobody's)."""

    views: tuple[_View, _View]
    names: tuple[str, ...]
    owners: frozenset[int | None]


def _relation(source: _Group, target: _Group) -> tuple[bool, bool]:
    """Whether all of both are one user's own devices, and whether some are."""
    common = {owner for owner in source.owners & target.owners if owner is not None}
    return bool(common) and len(source.owners | target.owners) == 1, bool(common)


@dataclass(slots=True)
class _Policy:
    """One of the two, with what the comparison asks of it again and again."""

    compiled: Compiled
    ssh: tuple[SSH, ...] = ()
    _known: dict[tuple[frozenset[int], tuple[int, ...]], Access] = field(default_factory=dict)
    _by_source: dict[frozenset[int], dict[int, list[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ssh = tuple(rule.written for rule in ssh_rules_of(self.compiled.program.document))

    def meeting(self, source: _View, target: _View, *, own: bool) -> tuple[frozenset[int], tuple[int, ...]]:
        """The rows and SSH rules between the two; `own`: that are devices of one user."""
        program, rows = self.compiled.program, set[int]()
        for family, sources in enumerate(source.sources):
            heard = self._sorted(target.rows[family])
            smaller = sources if len(sources) < len(heard) else heard
            for number in smaller:
                if number in sources:
                    rows.update(heard.get(number, ()))
            if own and (4, 6)[family] in target.families:
                rows.update(row for row in program.own_rows if program.rows[row].source in sources)
        ssh = source.ssh_from & target.ssh_to
        if own:
            ssh |= {n for n in source.ssh_from if any(d.text == OWN for d in self.ssh[n].destinations)}
        return frozenset(rows), tuple(sorted(ssh))

    def _sorted(self, rows: frozenset[int]) -> dict[int, list[int]]:
        known = self._by_source.get(rows)
        if known is None:
            known = self._by_source[rows] = {}
            for row in rows:
                known.setdefault(self.compiled.program.rows[row].source, []).append(row)
        return known

    def access(self, met: tuple[frozenset[int], tuple[int, ...]]) -> Access:
        """What these rows and SSH rules allow together."""
        if met not in self._known:
            self._known[met] = {**_traffic(self.compiled, met[0]), **_sessions(self.ssh[n] for n in met[1])}
        return self._known[met]


Change = tuple[tuple[str, ...], tuple[str, ...]]
NOTHING: Final[Change] = ((), ())


@dataclass(slots=True)
class _Pair:
    """Both policies, and what was found between their rules."""

    old: _Policy
    new: _Policy
    _known: dict[object, Change] = field(default_factory=dict)

    def change(self, source: _Group, target: _Group, *, own: bool) -> Change:
        """What is gained and what is lost."""
        before = self.old.meeting(source.views[0], target.views[0], own=own)
        after = self.new.meeting(source.views[1], target.views[1], own=own)
        if (before, after) not in self._known:
            was, will = self.old.access(before), self.new.access(after)
            self._known[before, after] = (_less(will, was), _less(was, will))
        return self._known[before, after]


def _traffic(compiled: Compiled, rows: Iterable[int]) -> Access:
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in map(compiled.program.rows.__getitem__, rows):
        if row.traffic is None:
            for capability in row.capabilities:
                spans[f"app {capability}"].append((0, 1))
            continue
        for protocol in DEFAULT if row.traffic.protocol is None else (row.traffic.protocol,):
            ports = row.traffic.ports if protocol in WITH_PORTS else ()
            spans[protocol_name(protocol)] += [(p.first, p.last + 1) for p in ports] or [(0, 1)]
    return {name: of_spans(found) for name, found in spans.items()}


def _sessions(rules: Iterable[SSH]) -> Access:
    """Whom one may be by SSH; of several rules the first for a user counts, as for the client."""
    found: dict[str, str] = {}
    for rule in rules:
        users = [*(("root",) if rule.users.root else ()), *rule.users.names]
        users += [*(("autogroup:nonroot",) if rule.users.nonroot else ()), *(d.text for d in rule.users.domains)]
        for user in users:
            found.setdefault(user, " after a check" if rule.check else "")
    return {f"ssh as {user}{check}": IPSet((0, 1)) for user, check in found.items()}


def _less(more: Access, less: Access) -> tuple[str, ...]:
    rest = ((name, ports - less.get(name, IPSet())) for name, ports in sorted(more.items()))
    return tuple(_text(name, ports.spans()) for name, ports in rest if ports)


def _text(name: str, spans: Iterable[tuple[int, int]]) -> str:
    parts = [str(first) if past == first + 1 else f"{first}-{past - 1}" for first, past in spans]
    if parts == ["0"]:  # without ports
        return name
    return f"{name}:{'*' if parts in (['0-65535'], ['1-65535']) else ','.join(parts)}"


def person_name(person: Person | None, person_id: int) -> str:
    """A user as a policy calls them."""
    if person is None:
        return f"user {person_id}"
    return person.email or f"{person.name}@"
