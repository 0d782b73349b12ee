"""`nodeAttrs`: the attributes of a node that its own client is told, and the few that its peers are."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import msgspec

from headscale.policy.document import Document, NodeAttributes
from headscale.policy.filed import Filed, filed
from headscale.policy.subjects import Network, Subject
from headscale.policy.who import Who, who_of
from headscale.tailcfg.node import CapMap

RANDOMIZE_PORT: Final = "randomize-client-port"
DISABLE_IPV4: Final = "disable-ipv4"
# The only attribute that peers are shown, and for every exit node (recordings nodeattrs-attr-c14, routes-b17).
SUGGEST_EXIT_NODE: Final = "suggest-exit-node"


@dataclass(frozen=True, slots=True)
class Attributes:
    """All of `nodeAttrs`, resolved to labels; `everywhere` are those that every node has."""

    everywhere: tuple[str, ...]
    entries: Filed[tuple[Who, NodeAttributes]]


def attributes_of(document: Document) -> Attributes:
    """Who has which attributes, as labels and addresses."""
    everywhere = (RANDOMIZE_PORT,) if document.randomize_client_port else ()
    found = ((who_of(entry.targets), entry) for entry in document.node_attributes)
    return Attributes(
        everywhere, filed((who, who.everyone or bool(who.ips), (who, entry)) for who, entry in found)
    )


def caps_of(attributes: Attributes, subject: Subject, labels: Collection[str]) -> CapMap:
    """The node's attributes, each once, with the values that `app` gives."""
    found: dict[str, list[msgspec.Raw]] = {name: [] for name in attributes.everywhere}
    for who, entry in attributes.entries.about(labels):
        if _meets(who, subject, labels):
            for name in entry.attributes:
                found.setdefault(name, [])
            for name, values in entry.app.items():
                found.setdefault(name, []).extend(values)
    return found


def peer_caps_of(subject: Subject) -> CapMap:
    """What peers are shown of the node's attributes."""
    return {SUGGEST_EXIT_NODE: []} if subject.is_exit_node else {}


def pools_of(attributes: Attributes, labels: Collection[str]) -> tuple[Network, ...]:
    """Where the address of a new node with these labels comes from: the first entry that has pools decides."""
    for who, entry in attributes.entries.about(labels):
        if entry.pools and (who.everyone or not who.labels.isdisjoint(labels)):
            return entry.pools
    return ()


def _meets(who: Who, subject: Subject, labels: Collection[str]) -> bool:
    if who.everyone or not who.labels.isdisjoint(labels):
        return True
    return any(address in who.ips for address in (subject.ipv4, subject.ipv6) if address is not None)
