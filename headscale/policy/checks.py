"""The `tests` and `sshTests` that a policy carries about itself.

They run when a policy is submitted, against the tailnet as it is, and any that fails refuses the whole policy. A
test that names what does not exist fails too: it says something else than its writer meant.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Final

from headscale.policy.aliases import Addresses, Alias, Autogroup, Names
from headscale.policy.bits import lowest
from headscale.policy.compiled import Compiled
from headscale.policy.complaints import COMPLAINTS_MAX, Complaint
from headscale.policy.document import Document, Place
from headscale.policy.parse_access import read_destination, read_source
from headscale.policy.paths import End, Packet, alike, ends_of, own_devices
from headscale.policy.ports import WITH_PORTS, read_ports, read_protocol
from headscale.policy.ssh_checks import ssh_failures
from headscale.policy.verdicts import Ends, Verdicts, numbered
from headscale.tailcfg.filters import ANY_PORT

# The hosted service's words; what follows says which one and why.
FAILED: Final = "test(s) failed"
# The ends that an alias stands for, one of each kind.
Finder = Callable[[Alias], Ends]
# A test without a protocol asks whether TCP or UDP gets through.
_EITHER: Final = (6, 17)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What all tests of a policy are asked of."""

    compiled: Compiled
    names: Names
    find: Finder
    verdicts: Verdicts


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
    def find(alias: Alias) -> Ends:
        return numbered(compiled.program, alike(compiled.program, ends_of(compiled, alias)))

    asked = _Asked(compiled, names, find, Verdicts(compiled.program))

    @cache
    def wrong(source: str, protocol: str, accept: tuple[str, ...], deny: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(islice(_test(asked, source, protocol, accept, deny), COMPLAINTS_MAX + 1))

    for test in document.tests:
        found = wrong(test.source, test.protocol, test.accept, test.deny)
        yield from (_failure(test.place, why) for why in found)
    for place, why in ssh_failures(compiled, names, document.ssh_tests):
        yield _failure(place, why)


def names_of(document: Document) -> Names:
    """What the document defines, for reading aliases against it."""
    return Names(frozenset(document.groups), frozenset(document.tag_owners), document.hosts, document.domains)


def _failure(place: Place, why: str) -> Complaint:
    return Complaint(f"{FAILED}: {why}", place.line, place.column, place.path)


def _test(
    asked: "_Asked", source: str, protocol: str, accept: tuple[str, ...], deny: tuple[str, ...]
) -> Iterator[str]:
    """What is wrong with one of `tests`, or what it finds wrong."""
    try:
        alias = read_source(source, asked.names)
        sources = asked.find(alias)
        if not sources.ends:
            raise ValueError(f'"{alias.text}" stands for nobody')
        protocols = _protocols(protocol)
    except ValueError as problem:
        yield str(problem)
        return
    if not accept and not deny:
        yield "neither accept nor deny says what to expect"
    for text in accept:
        yield from _expect(asked, sources, text, protocols, wanted=True)
    for text in deny:
        yield from _expect(asked, sources, text, protocols, wanted=False)


def _protocols(text: str) -> tuple[int, ...]:
    protocol = read_protocol(text)
    if protocol is None:
        return _EITHER
    if protocol not in WITH_PORTS:
        raise ValueError(f'proto="{text}": only tcp, udp and sctp can be tested')
    return (protocol,)


def _expect(
    asked: "_Asked", sources: Ends, text: str, protocols: tuple[int, ...], *, wanted: bool
) -> Iterator[str]:
    """The first source with the first target that it reaches or not, against what is wanted."""
    try:
        alias, port = _read_target(text, asked.names)
    except ValueError as problem:
        yield str(problem)
        return
    packets = tuple(Packet(protocol, port) for protocol in protocols)
    if _is_own(alias):
        yield from _expect_own(asked, sources, text, packets, wanted=wanted)
        return
    targets = asked.find(alias).ends
    if not targets:
        yield from (f'"{alias.text}" stands for nobody, seen from {source.name}' for source in sources.ends)
    first: tuple[int, End] | None = None
    for target in targets:
        found = asked.verdicts.open_to(sources, target, packets)
        at = lowest(sources.everyone & ~found if wanted else found)
        if at is not None and (first is None or at < first[0]):
            first = (at, target)
        if at == 0:
            break
    if first is not None:
        yield _surprise(sources.ends[first[0]], first[1], text, wanted=wanted)


def _expect_own(
    asked: "_Asked", sources: Ends, text: str, packets: tuple[Packet, ...], *, wanted: bool
) -> Iterator[str]:
    """As `_expect`, about one's own devices, which are others for each source."""
    for at, source in enumerate(sources.ends):
        own = own_devices(asked.compiled, source)
        if own is None:
            yield f'"autogroup:self" stands for nobody, seen from {source.name}'
        elif bool(asked.verdicts.open_to(sources, own, packets) >> at & 1) != wanted:
            yield _surprise(source, own, text, wanted=wanted)
            return


def _surprise(source: End, target: End, text: str, *, wanted: bool) -> str:
    what = "cannot reach" if wanted else "can reach"
    return f"{source.name} {what} {_at(target, text)}"


def _at(target: End, text: str) -> str:
    return text if target.name in text else f"{text} ({target.name})"


def _is_own(alias: Alias) -> bool:
    return isinstance(alias, Autogroup) and alias.name == "self"


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
