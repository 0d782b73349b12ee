"""The `tests` and `sshTests` that a policy carries about itself.

They run when a policy is submitted, against the tailnet as it is, and any that fails refuses the whole policy. A
test that names what does not exist fails too: it says something else than its writer meant.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Final

from headscale.policy.aliases import Addresses, Alias, Autogroup, Names, read_alias
from headscale.policy.compiled import Compiled
from headscale.policy.complaints import COMPLAINTS_MAX, Complaint
from headscale.policy.document import Document, Place, SSHTest, Test
from headscale.policy.parse_access import read_destination, read_source
from headscale.policy.paths import End, Packet, admitting, alike, ends_of, own_devices
from headscale.policy.ports import WITH_PORTS, read_ports, read_protocol
from headscale.tailcfg.filters import ANY_PORT
from headscale.tailcfg.ssh import SSHPolicy

# The hosted service's words; what follows says which one and why.
FAILED: Final = "test(s) failed"
# The ends that an alias stands for, one of each kind.
Finder = Callable[[Alias], list[End]]
# A test without a protocol asks whether TCP or UDP gets through.
_EITHER: Final = (6, 17)


def run_tests(compiled: Compiled) -> tuple[Complaint, ...]:
    """Everything that the document's own tests find wrong; nothing when all pass."""
    document = compiled.document
    if document is None:
        return ()
    found = tuple(islice(_failures(compiled, document), COMPLAINTS_MAX + 1))
    if len(found) > COMPLAINTS_MAX:
        return (*found[:COMPLAINTS_MAX], Complaint("and more"))
    return found


def _failures(compiled: Compiled, document: Document) -> Iterator[Complaint]:
    names = names_of(document)

    @cache
    def find(alias: Alias) -> list[End]:
        return alike(compiled.program, ends_of(compiled, alias))

    for test in document.tests:
        yield from (_failure(test.place, why) for why in _test(compiled, names, test, find))
    for ssh_test in document.ssh_tests:
        yield from (_failure(ssh_test.place, why) for why in _ssh_test(compiled, names, ssh_test))


def names_of(document: Document) -> Names:
    """What the document defines, for reading aliases against it."""
    return Names(frozenset(document.groups), frozenset(document.tag_owners), document.hosts, document.domains)


def _failure(place: Place, why: str) -> Complaint:
    return Complaint(f"{FAILED}: {why}", place.line, place.column, place.path)


def _test(compiled: Compiled, names: Names, test: Test, find: Finder) -> Iterator[str]:
    try:
        sources = _some(find, read_source(test.source, names))
        protocols = _protocols(test.protocol)
    except ValueError as problem:
        yield str(problem)
        return
    if not test.accept and not test.deny:
        yield "neither accept nor deny says what to expect"
    for text in test.accept:
        yield from _expect(compiled, names, find, sources, text, protocols, wanted=True)
    for text in test.deny:
        yield from _expect(compiled, names, find, sources, text, protocols, wanted=False)


def _protocols(text: str) -> tuple[int, ...]:
    protocol = read_protocol(text)
    if protocol is None:
        return _EITHER
    if protocol not in WITH_PORTS:
        raise ValueError(f'proto="{text}": only tcp, udp and sctp can be tested')
    return (protocol,)


def _some(find: Finder, alias: Alias) -> list[End]:
    ends = find(alias)
    if not ends:
        raise ValueError(f'"{alias.text}" stands for nobody')
    return ends


def _expect(
    compiled: Compiled,
    names: Names,
    find: Finder,
    sources: list[End],
    text: str,
    protocols: tuple[int, ...],
    *,
    wanted: bool,
) -> Iterator[str]:
    try:
        alias, port = _read_target(text, names)
    except ValueError as problem:
        yield str(problem)
        return
    same_for_all = None if _is_own(alias) else find(alias)
    for source in sources:
        targets = _targets(compiled, source, alias) if same_for_all is None else same_for_all
        if not targets:
            yield f'"{alias.text}" stands for nobody, seen from {source.name}'
        for target in targets:
            open_to = any(admitting(compiled.program, source, target, Packet(p, port)) for p in protocols)
            if open_to != wanted:
                what = "cannot reach" if wanted else "can reach"
                yield f"{source.name} {what} {_at(target, text)}"
                return


def _at(target: End, text: str) -> str:
    return text if target.name in text else f"{text} ({target.name})"


def _is_own(alias: Alias) -> bool:
    return isinstance(alias, Autogroup) and alias.name == "self"


def _targets(compiled: Compiled, source: End, alias: Alias) -> list[End]:
    """What the destination is for this source; one's own devices depend on who asks."""
    if not (isinstance(alias, Autogroup) and alias.name == "self"):
        return ends_of(compiled, alias)
    own = own_devices(compiled, source)
    return [own] if own else []


def _read_target(text: str, names: Names) -> tuple[Alias, int]:
    """`alias:port`. The hosted service fails a test of a network or of more than one port (recordings policytest-*)."""
    name, colon, ports_text = text.strip().rpartition(":")
    if not colon:
        raise ValueError(f'"{text}": expected a port after a colon')
    ports = read_ports(ports_text)
    if len(ports) != 1 or ports[0].first != ports[0].last or ports[0] == ANY_PORT:
        raise ValueError(f'"{text}": a test is about one port')
    alias = read_destination(name, names)
    if isinstance(alias, Addresses) and name not in names.hosts and ("/" in name or "-" in name):
        raise ValueError(f'"{text}": a test is about one address, not a network')
    if isinstance(alias, Autogroup) and alias.name == "internet":
        raise ValueError(f'"{text}": autogroup:internet cannot be tested')
    return alias, ports[0].first


def _ssh_test(compiled: Compiled, names: Names, test: SSHTest) -> Iterator[str]:
    try:
        sources = _some(lambda alias: ends_of(compiled, alias), read_source(test.source, names))
        destinations = [read_alias(text, names) for text in test.destinations]
    except ValueError as problem:
        yield str(problem)
        return
    expected = [(user, "accept") for user in test.accept]
    expected += [(user, "deny") for user in test.deny]
    expected += [(user, "check") for user in test.check]
    if not destinations or not expected:
        yield "an SSH test needs dst, and accept, deny or check"
    for source in _alike_for_ssh(compiled, sources, by_user=any(map(_is_own, destinations))):
        for alias in destinations:
            yield from _sessions(compiled, source, alias, expected)


def _alike_for_ssh(compiled: Compiled, sources: list[End], *, by_user: bool) -> list[End]:
    """The first of each kind of sources that the SSH rules tell apart: by labels, some by user."""
    rules = compiled.ssh_rules
    spoken_of = frozenset[str]().union(*(rule.sources.labels | rule.destinations.labels for rule in rules))
    by_user = by_user or any(rule.destinations.own or rule.written.users.domains for rule in rules)
    kinds = {(spoken_of.intersection(s.labels), s.user_id if by_user else None): s for s in reversed(sources)}
    return list(reversed(kinds.values()))


def _sessions(
    compiled: Compiled, source: End, alias: Alias, expected: list[tuple[str, str]]
) -> Iterator[str]:
    hosts = _hosts(compiled, source, alias)
    if not hosts:
        yield f'"{alias.text}" stands for no node, seen from {source.name}'
    # Rules for SSH know nothing but labels, so one host of a kind stands for all.
    for node_id in {compiled.nodes[i].kind.labels: i for i in reversed(hosts)}.values():
        policy = compiled.ssh_of(node_id)
        for user, wanted in expected:
            outcome = _outcome(policy, source, user.strip())
            if outcome != wanted:
                yield f'{source.name} as "{user}" at {alias.text}: {outcome}, not {wanted}'


def _hosts(compiled: Compiled, source: End, alias: Alias) -> list[int]:
    own = isinstance(alias, Autogroup) and alias.name == "self"
    who = compiled.program.directory.present((alias,))
    return [
        node_id
        for node_id, facts in sorted(compiled.nodes.items())
        if (own and source.user_id is not None and facts.subject.user_id == source.user_id)
        or not who.labels.isdisjoint(facts.kind.labels)
        or any(a in who.ips for a in (facts.subject.ipv4, facts.subject.ipv6) if a is not None)
    ]


def _outcome(policy: SSHPolicy | None, source: End, user: str) -> str:
    """What the client at the destination does: the first rule with the address and the user decides."""
    coming = {str(address) for address in source.addresses}
    for rule in policy.rules if policy and user else ():
        local = rule.ssh_users.get(user, rule.ssh_users.get("*", ""))
        refused = not local or (local == "=" and user == "root")
        if refused or coming.isdisjoint(principal.node_ip for principal in rule.principals):
            continue
        return "accept" if rule.action.accept else "check"
    return "deny"
