"""The words of a question about the policy: `alice@ web:443`, and what they name in this tailnet.

A word is what a policy may name, or a node by the name that it has in the tailnet. What a policy calls a host comes
before a node of the same name, because that is what its rules mean.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from headscale.errors import Malformed, NotFound
from headscale.policy.aliases import (
    Addresses,
    Alias,
    Autogroup,
    Names,
    UserName,
    fold_login,
    read_addresses,
    read_alias,
)
from headscale.policy.checks import names_of
from headscale.policy.compiled import Compiled
from headscale.policy.paths import End, Packet, ends_of, node_end
from headscale.policy.ports import PORT_MAX, WITH_PORTS, read_protocol
from headscale.state.snapshot import Snapshot

# Words that begin so are a policy's own; anything else may be a node's name.
_KINDS: Final = ("tag:", "group:", "autogroup:", "user:", "ipset:", "svc:", "posture:", "cap:")
# A question with a port and without a protocol is about these, as a policy's tests are.
_EITHER: Final = (6, 17)
_SOURCELESS: Final = ("self", "internet", "nonroot", "danger-all")
_UNREACHABLE: Final = ("nonroot", "danger-all")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question's words, parted: any of these packets; without one, any traffic at all."""

    source: str
    target: str
    packets: tuple[Packet, ...]


def read_question(source: str, destination: str, protocol: str = "") -> Asked:
    """`SRC`, `DST:PORT` and a protocol's name or number; raises Malformed."""
    source, destination = source.strip(), destination.strip()
    if not source or not destination:
        raise Malformed("say who and what: SRC and DST:PORT")
    target, port_text = _parted(destination)
    try:
        number = read_protocol(protocol)
    except ValueError as problem:
        raise Malformed(str(problem)) from None
    port = _read_port(port_text)
    if number is None:
        packets = tuple(Packet(each, port) for each in _EITHER) if port is not None else ()
    elif port is not None and number not in WITH_PORTS:
        raise Malformed(f"{protocol} has no ports: ask for {target} without one")
    else:
        packets = (Packet(number, port),)
    return Asked(_bare(source), _bare(target), packets)


def _parted(text: str) -> tuple[str, str]:
    """The name and the port of a destination; without a port `*`."""
    if text.startswith("["):
        inside, bracket, rest = text.partition("]")
        if not bracket or (rest and not rest.startswith((":", "/"))):
            raise Malformed(f"{text}: write an IPv6 address as [fd7a::1]:443")
        length, _, port = rest.partition(":")
        return f"{inside}]{length}", port if ":" in rest else "*"
    kind = next((kind for kind in _KINDS if text.startswith(kind)), "")
    name, colon, port = text.removeprefix(kind).rpartition(":")
    if not colon:
        return text, "*"
    if ":" in name:
        raise Malformed(f"{text}: write an IPv6 address in brackets, [{text}] or [{name}]:{port}")
    return kind + name, port


def _bare(text: str) -> str:
    """An address without its brackets."""
    return text.replace("[", "", 1).replace("]", "", 1) if text.startswith("[") else text


def _read_port(text: str) -> int | None:
    if text == "*":
        return None
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:6]) <= PORT_MAX:
        raise Malformed(f"port {text!r}: a question is about one port from 1 to {PORT_MAX}, or none")
    return int(text)


@dataclass(frozen=True, slots=True)
class Naming:
    """What words mean in a tailnet and to a policy."""

    snapshot: Snapshot
    compiled: Compiled

    @property
    def names(self) -> dict[int, str]:
        """What all nodes are called."""
        return {node.id: node.given_name for node in self.snapshot.nodes.values()}

    def sources(self, text: str) -> list[End]:
        """Who that is, at least one. Raises Malformed or NotFound."""
        alias = self._alias(text)
        if isinstance(alias, Autogroup) and alias.name in _SOURCELESS:
            raise Malformed(f"{text} never sends: name a user, a tag, a node or an address")
        return self._ends(text, alias)

    def targets(self, text: str) -> list[End] | None:
        """What that is, at least one; None for one's own devices, which depend on who asks."""
        alias = self._alias(text)
        if isinstance(alias, Autogroup) and alias.name in _UNREACHABLE:
            raise Malformed(f"{text} is nothing that can be reached")
        is_own = isinstance(alias, Autogroup) and alias.name == "self"
        return None if is_own else self._ends(text, alias)

    def _ends(self, text: str, alias: Alias | None) -> list[End]:
        if alias is None:
            return [node_end(self.compiled.nodes[self._node_id(text) or 0], self.names)]
        found = ends_of(self.compiled, alias, self.names)
        if isinstance(alias, Addresses):
            return [self._named(end) for end in found[:1]]
        if not found:
            raise self._nobody(alias)
        return found

    def _named(self, end: End) -> End:
        """An address by itself, and by the node that has it."""
        [address] = end.addresses
        name = end.name if end.name == str(address) else f"{end.name} ({address})"
        node_id = self.snapshot.node_by_address.get(address)
        if node_id is not None:
            name = f"{name} of {self.snapshot.nodes[node_id].given_name}"
        return End(name, end.labels, end.user_id, end.addresses, False, end.is_public, end.is_routed)

    def _nobody(self, alias: Alias) -> Malformed | NotFound:
        if not isinstance(alias, UserName):
            return NotFound(f"{alias.text} stands for nobody here")
        login, people = fold_login(alias.text), self.compiled.people.values()
        same = [p for p in people if login in map(fold_login, (p.name, p.email, p.provider_identifier))]
        if len(same) > 1:
            return Malformed(f"{alias.text} fits {len(same)} users, so that rules with it mean none of them")
        return NotFound(f"no user is called {alias.text}{_nearest(alias.text, self._logins())}")

    def _alias(self, text: str) -> Alias | None:
        """What a policy means by this text; None for a node's name."""
        document = self.compiled.document
        known = names_of(document) if document else Names()
        hosts = known.hosts or {}
        is_plain = not text.startswith(_KINDS) and "@" not in text and text != "*"
        if is_plain and text not in hosts and not _is_addresses(text):
            if self._node_id(text):
                return None
            near = _nearest(text, (*self.snapshot.node_by_name, *hosts, *self._logins()))
            raise NotFound(f"no node, host or address is called {text}{near}")
        carried = {tag for node in self.snapshot.nodes.values() for tag in node.tags}
        try:
            return read_alias(text, Names(known.groups, known.tags | carried, hosts, known.domains))
        except ValueError as problem:
            raise NotFound(str(problem)) from None

    def _node_id(self, text: str) -> int | None:
        """The node of this name, with or without the tailnet's domain; names have no case."""
        base = self.snapshot.settings.dns.base_domain
        name = text.casefold().rstrip(".").removesuffix(f".{base}" if base else "")
        return self.snapshot.node_by_name.get(name)

    def _logins(self) -> list[str]:
        return [person.email or f"{person.name}@" for person in self.compiled.people.values()]


def _is_addresses(text: str) -> bool:
    """Whether these are addresses; a range may look like a node's name and is one only between addresses."""
    try:
        read_addresses(text)
    except ValueError:
        return False
    return True


def _nearest(text: str, known: Iterable[str]) -> str:
    close = get_close_matches(text, [*known], n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""
