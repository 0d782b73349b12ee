"""The `sshTests` of a policy: sessions as the clients at their destinations would decide them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import Final

from headscale.policy.aliases import Alias, Autogroup, Names, read_alias
from headscale.policy.compiled import Compiled
from headscale.policy.complaints import COMPLAINTS_MAX
from headscale.policy.document import Place, SSHTest
from headscale.policy.parse_access import read_source
from headscale.policy.paths import End, ends_of
from headscale.tailcfg.ssh import SSHPolicy, SSHRule

_NOWHERE: Final = Place(0, 0, "")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What all tests of a policy are asked of; a node's rules by the users that they open."""

    compiled: Compiled
    names: Names
    spoken_of: frozenset[str]
    by_user: dict[int, Mapping[str, list[int]]] = field(default_factory=dict)

    def rules(self, node_id: int, user: str) -> Iterator[SSHRule]:
        """The node's rules that say something of this user, in order."""
        policy = self.compiled.ssh_of(node_id)
        if policy is None:
            return iter(())
        known = self.by_user.get(node_id)
        if known is None:
            known = self.by_user[node_id] = _by_user(policy)
        numbers = sorted({*known.get(user, ()), *known.get("*", ())})
        return (policy.rules[number] for number in numbers)


def _by_user(policy: SSHPolicy) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, rule in enumerate(policy.rules):
        for user in rule.ssh_users:
            found.setdefault(user, []).append(number)
    return found


def ssh_failures(compiled: Compiled, names: Names, tests: Iterable[SSHTest]) -> Iterator[tuple[Place, str]]:
    """What these tests find wrong, each with the place of the test; the same test is asked once."""
    rules = compiled.ssh_rules
    spoken_of = frozenset[str]().union(*(rule.sources.labels | rule.destinations.labels for rule in rules))
    asked = _Asked(compiled, names, spoken_of)

    @cache
    def wrong(test: SSHTest) -> tuple[str, ...]:
        return tuple(islice(_ssh_test(asked, test), COMPLAINTS_MAX + 1))

    for test in tests:
        yield from ((test.place, why) for why in wrong(replace(test, place=_NOWHERE)))


def _ssh_test(asked: _Asked, test: SSHTest) -> Iterator[str]:
    compiled, names = asked.compiled, asked.names
    try:
        alias = read_source(test.source, names)
        sources = ends_of(compiled, alias)
        if not sources:
            raise ValueError(f'"{alias.text}" stands for nobody')
        destinations = [read_alias(text, names) for text in test.destinations]
    except ValueError as problem:
        yield str(problem)
        return
    expected = [(user, "accept") for user in test.accept]
    expected += [(user, "deny") for user in test.deny]
    expected += [(user, "check") for user in test.check]
    if not destinations or not expected:
        yield "an SSH test needs dst, and accept, deny or check"
    for source in _alike_for_ssh(asked, sources, by_user=any(map(_is_own, destinations))):
        for alias in destinations:
            yield from _sessions(asked, source, alias, expected)


def _alike_for_ssh(asked: _Asked, sources: list[End], *, by_user: bool) -> list[End]:
    """The first of each kind of sources that the SSH rules tell apart: by labels, some by user."""
    by_user = by_user or any(
        rule.destinations.own or rule.written.users.domains for rule in asked.compiled.ssh_rules.others()
    )
    kinds = {
        (asked.spoken_of.intersection(s.labels), s.user_id if by_user else None): s for s in reversed(sources)
    }
    return list(reversed(kinds.values()))


def _sessions(asked: _Asked, source: End, alias: Alias, expected: list[tuple[str, str]]) -> Iterator[str]:
    compiled = asked.compiled
    hosts = _hosts(compiled, source, alias)
    if not hosts:
        yield f'"{alias.text}" stands for no node, seen from {source.name}'
    # Rules for SSH know nothing but labels, so one host of a kind stands for all.
    for node_id in {compiled.nodes[i].kind.labels: i for i in reversed(hosts)}.values():
        for user, wanted in expected:
            outcome = _outcome(asked, node_id, source, user.strip())
            if outcome != wanted:
                yield f'{source.name} as "{user}" at {alias.text}: {outcome}, not {wanted}'


def _hosts(compiled: Compiled, source: End, alias: Alias) -> list[int]:
    own = _is_own(alias)
    who = compiled.program.directory.present((alias,))
    labels = who.labels | {f"user:{source.user_id}"} if own and source.user_id is not None else who.labels
    found = {facts.subject.id for facts in compiled.labelled(labels)}
    for first, last in who.ips.ranges():
        inside = [compiled.node_at(first)] if first == last else compiled.all_nodes
        found |= {
            f.subject.id
            for f in inside
            if f and any(a in who.ips for a in (f.subject.ipv4, f.subject.ipv6) if a is not None)
        }
    return sorted(found)


def _outcome(asked: _Asked, node_id: int, source: End, user: str) -> str:
    """What the client at the destination does: the first rule with the address and the user decides."""
    coming = {str(address) for address in source.addresses}
    for rule in asked.rules(node_id, user) if user else ():
        local = rule.ssh_users.get(user, rule.ssh_users.get("*", ""))
        refused = not local or (local == "=" and user == "root")
        if refused or coming.isdisjoint(principal.node_ip for principal in rule.principals):
            continue
        return "accept" if rule.action.accept else "check"
    return "deny"


def _is_own(alias: Alias) -> bool:
    return isinstance(alias, Autogroup) and alias.name == "self"
