"""What another policy would change: access, attributes of nodes, routes that are approved without being asked, and who
may give which tags."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from headscale.policy.compiled import Compiled
from headscale.policy.difference import Difference, differences, kind_name
from headscale.state.routes import network_of
from headscale.state.snapshot import Snapshot

# Who may give every tag that a policy defines (state/tags.py).
ADMINISTRATORS: Final = "administrators"


class Pair(msgspec.Struct, frozen=True):
    """The body of a comparison: two policies' texts; without `old` it is the one in force."""

    new: str = ""
    old: str | None = None


class Access(msgspec.Struct, frozen=True):
    """What these sources may do at this target that they could not before, or the other way round."""

    sources: tuple[str, ...]
    target: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]


class Having(msgspec.Struct, frozen=True):
    """What these nodes have that they had not, or the other way round."""

    nodes: tuple[str, ...]
    gained: tuple[str, ...]
    lost: tuple[str, ...]


class Giving(msgspec.Struct, frozen=True):
    """Who may give this tag who might not, or the other way round: administrators, users, and nodes with a tag."""

    tag: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]


class Compared(msgspec.Struct, frozen=True, rename="camel"):
    """All differences; `changed` when there is any. `auto_approvals` are of routes that nodes advertise."""

    changed: bool
    access: tuple[Access, ...]
    attributes: tuple[Having, ...]
    auto_approvals: tuple[Having, ...]
    tag_owners: tuple[Giving, ...]


def compared(snapshot: Snapshot, old: Compiled, new: Compiled) -> Compared:
    """What changes for the nodes and users of the snapshot. Raises Malformed for too many kinds of them."""
    names = {node.id: node.given_name for node in snapshot.nodes.values()}
    access = tuple(map(_access, differences(old, new, names)))
    attributes = _having(snapshot, lambda node_id: (_attributes(old, node_id), _attributes(new, node_id)))
    approvals = _having(
        snapshot, lambda node_id: (_approved(snapshot, old, node_id), _approved(snapshot, new, node_id))
    )
    tags = _giving(_givers(old), _givers(new))
    return Compared(bool(access or attributes or approvals or tags), access, attributes, approvals, tags)


def _access(difference: Difference) -> Access:
    return Access(difference.sources, difference.target, difference.gained, difference.lost)


def _having(
    snapshot: Snapshot, both: Callable[[int], tuple[Collection[str], Collection[str]]]
) -> tuple[Having, ...]:
    """The nodes that have something else afterwards, those with the same change together."""
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for node_id in sorted(snapshot.nodes):
        before, after = both(node_id)
        gained = tuple(each for each in after if each not in before)
        lost = tuple(each for each in before if each not in after)
        if gained or lost:
            found.setdefault((gained, lost), []).append(snapshot.nodes[node_id].given_name)
    return tuple(Having(tuple(nodes), *change) for change, nodes in found.items())


def _attributes(compiled: Compiled, node_id: int) -> list[str]:
    """The node's attributes; one with values is another when these are."""
    return sorted(
        f"{name} {msgspec.json.encode(values).decode()}" if values else name
        for name, values in compiled.caps_of(node_id).items()
    )


def _approved(snapshot: Snapshot, compiled: Compiled, node_id: int) -> list[str]:
    """The routes of those that the node advertises."""
    subject = compiled.nodes[node_id].subject
    routes = map(network_of, snapshot.nodes[node_id].hostinfo.routable_ips)
    return [str(route) for route in routes if route is not None and compiled.approves(subject, route)]


def _giving(old: Mapping[str, list[str]], new: Mapping[str, list[str]]) -> tuple[Giving, ...]:
    found = []
    for tag in sorted({*old, *new}):
        before, after = old.get(tag, []), new.get(tag, [])
        was, will = set(before), set(after)
        gained = tuple(each for each in after if each not in was)
        lost = tuple(each for each in before if each not in will)
        if gained or lost:
            found.append(Giving(tag, gained, lost))
    return tuple(found)


def _givers(compiled: Compiled) -> Mapping[str, list[str]]:
    """Who may give each tag that the policy defines, as it is with the users of now."""
    labelled: dict[str, list[int]] = defaultdict(list)
    for person_id in sorted(compiled.people):
        for label in compiled.program.directory.labels(person_id):
            labelled[label].append(person_id)
    people: dict[frozenset[str], list[str]] = {}  # many tags have the same owners
    found = {}
    for tag in compiled.tags:
        owners = compiled.owners_of(tag)
        if owners not in people:
            ids = sorted({person_id for label in owners for person_id in labelled.get(label, ())})
            people[owners] = [kind_name(compiled, person_id) for person_id in ids]
        tags = sorted(label for label in owners if label.startswith("tag:") and label != tag)
        found[tag] = [ADMINISTRATORS, *people[owners], *tags]
    return found
