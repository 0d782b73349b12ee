"""Grants and ACLs in one form: rows, each saying what its sources may do at its targets.

A row has one kind of traffic or some capabilities. Rows keep the order in which the hosted service sends rules:
all that comes from `grants` before what comes from `acls`, each in the order of the policy; in a grant, traffic
before capabilities (recordings grant-f4, grant-k3).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

import msgspec

from headscale.policy.aliases import Alias, Autogroup, Everyone
from headscale.policy.document import Acl, Document, Grant, Place, Target
from headscale.policy.ports import ANYTHING, Traffic
from headscale.policy.who import Who, who_of

# Capabilities that need a rule the other way round: the one at the source learns who may use it.
# Source: recordings grant-b4, grant-a4; tailscale.com v1.102.4, tailcfg (PeerCapabilityTaildriveSharer).
COMPANIONS: Final = {
    "tailscale.com/cap/drive": "tailscale.com/cap/drive-sharer",
    "tailscale.com/cap/relay": "tailscale.com/cap/relay-target",
}
SELF: Final = Autogroup("autogroup:self", "self")
_NOWHERE: Final = Place(0, 0, "")

# The number of the source set that these aliases make.
Numbering = Callable[[tuple[Alias, ...]], int]


@dataclass(frozen=True, slots=True)
class Row:
    """What one rule says about one kind of traffic, or its capabilities.

    `source` is the number of the row's source set in its program; `targets` are kept one by one, because each
    keeps its own spelling on the wire.
    """

    place: Place
    source: int
    targets: tuple[Alias, ...]
    traffic: Traffic | None = None
    capabilities: Mapping[str, list[msgspec.Raw]] = field(default_factory=dict)
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of a policy, and the source sets that they refer to, each once."""

    rows: tuple[Row, ...]
    sources: tuple[Who, ...]
    aliases: tuple[tuple[Alias, ...], ...]


def rows_of(document: Document) -> Rows:
    """The rows of a policy; one that restricts nothing has one row for everything."""
    numbers: dict[Who, int] = {}
    sources: list[Who] = []
    aliases: list[tuple[Alias, ...]] = []
    known: dict[tuple[Alias, ...], int] = {}

    def number(of: tuple[Alias, ...]) -> int:
        if of in known:
            return known[of]
        who = who_of(of)
        if who not in numbers:
            numbers[who] = len(sources)
            sources.append(who)
            aliases.append(of)
        known[of] = numbers[who]
        return known[of]

    if not document.restricts:
        everyone = (Everyone(),)
        return Rows((Row(_NOWHERE, number(everyone), everyone, ANYTHING),), tuple(sources), tuple(aliases))
    rows: list[Row] = []
    # Without any source written a rule says nothing, unlike one whose sources are nobody (recordings grant-h4, h6).
    for grant in document.grants:
        rows += _grant_rows(grant, number) if grant.sources else ()
    for acl in document.acls:
        rows += _acl_rows(acl, number) if acl.sources else ()
    return Rows(tuple(rows), tuple(sources), tuple(aliases))


def _grant_rows(grant: Grant, number: Numbering) -> Iterator[Row]:
    source = number(grant.sources)
    runs = _own_and_others(grant.destinations)
    for traffic in grant.traffics:
        for run in runs:
            yield Row(grant.place, source, run, traffic, via=grant.via)
    if not grant.capabilities:
        return
    for run in runs:
        yield Row(grant.place, source, run, None, grant.capabilities, grant.via)
    for capability, companion in COMPANIONS.items():
        if capability in grant.capabilities and not grant.via:
            yield from (_companion(grant, run, companion, number) for run in runs)


def _companion(grant: Grant, run: tuple[Alias, ...], companion: str, number: Numbering) -> Row:
    """The rule the other way round. A person's own devices are on both sides of theirs."""
    if run[0] == SELF:
        return Row(grant.place, number(grant.sources), run, None, {companion: []})
    return Row(grant.place, number(run), grant.sources, None, {companion: []})


def _acl_rows(acl: Acl, number: Numbering) -> Iterator[Row]:
    """A row for each run of targets with the same traffic."""
    source = number(acl.sources)
    if len(acl.targets) == 1:  # as most have, and there may be a hundred thousand
        yield Row(acl.place, source, (acl.targets[0].alias,), acl.targets[0].traffic)
        return
    for traffic, targets in groupby(_own_last(acl.targets), key=lambda target: target.traffic):
        for run in _runs(tuple(target.alias for target in targets)):
            yield Row(acl.place, source, run, traffic)


def _own_last(targets: tuple[Target, ...]) -> list[Target]:
    """One's own devices come after all else, unless all else are autogroups too (recordings acl-sf07, acl-s08)."""
    if all(isinstance(target.alias, Autogroup) for target in targets):
        return list(targets)
    return sorted(targets, key=lambda target: target.alias == SELF)


def _own_and_others(aliases: tuple[Alias, ...]) -> list[tuple[Alias, ...]]:
    """One's own devices, and all other targets, in the order in which they are named first or as for ACLs."""
    own = tuple(alias for alias in dict.fromkeys(aliases) if alias == SELF)
    others = tuple(alias for alias in dict.fromkeys(aliases) if alias != SELF)
    own_first = bool(aliases) and aliases[0] == SELF and all(isinstance(a, Autogroup) for a in aliases)
    return [part for part in ((own, others) if own_first else (others, own)) if part]


def _runs(aliases: tuple[Alias, ...]) -> list[tuple[Alias, ...]]:
    """The aliases in runs, so that one's own devices are a row of their own: they have sources of their own."""
    return [tuple(run) for _, run in groupby(aliases, key=lambda alias: alias == SELF)]
