"""What no two nodes may both have, and which of them keeps it. Nothing in the peer's database says so; ours does.

| what two rows share | what happens |
|---|---|
| id | the second is left out |
| node key | the one that was seen last is the client's; the other is left out |
| machine key and owner | likewise |
| an address | the one that was seen last keeps it; the other gets another |
| a given name | the lower id keeps it; the other gets a number |

It depends on the rows alone, and not on what is here already, so that it comes out alike each time.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from headscale.peer.report import Ledger
from headscale.peer.rows import Row
from headscale.records import Node
from headscale.state.names import unique_label

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Taken:
    """A node as it comes in. `lost` are the families (4, 6) of which it needs a new address."""

    row: Row
    node: Node
    lost: frozenset[int] = frozenset()


def told_apart(nodes: Iterable[Taken], ledger: Ledger) -> list[Taken]:
    """The nodes by id, none of which has what another has."""
    left = _only_one(nodes, lambda node: node.id, ledger, "id", key=lambda taken: -taken.row.number)
    left = _only_one(left, lambda node: node.node_key, ledger, "node key")
    left = _only_one(left, lambda node: (node.machine_key, node.user_id), ledger, "machine key and owner")
    for family in (4, 6):
        left = _own_addresses(left, family, ledger)
    return _own_names(sorted(left, key=lambda taken: taken.node.id), ledger)


def _only_one(
    nodes: Iterable[Taken],
    shared: Callable[[Node], Hashable],
    ledger: Ledger,
    name: str,
    *,
    key: Callable[[Taken], Any] | None = None,
) -> list[Taken]:
    """Of nodes that share this the one that ranks highest; the others are left out."""
    kept: dict[Hashable, Taken] = {}
    for taken in sorted(nodes, key=key or _rank, reverse=True):
        first = kept.setdefault(shared(taken.node), taken)
        if first is not taken:
            ledger.left_out(taken.row, f"node {first.node.id} has the same {name} and was seen later")
    return list(kept.values())


def _rank(taken: Taken) -> tuple[datetime, int]:
    return (taken.node.last_seen or _NEVER, taken.node.id)


def _own_addresses(nodes: list[Taken], family: int, ledger: Ledger) -> list[Taken]:
    holders: dict[object, int] = {}
    after = []
    for taken in sorted(nodes, key=_rank, reverse=True):
        address = taken.node.ipv4 if family == 4 else taken.node.ipv6
        holder = holders.setdefault(address, taken.node.id) if address is not None else taken.node.id
        if holder == taken.node.id:
            after.append(taken)
            continue
        ledger.repaired(
            taken.row, f"node {holder} has its address {address} too and was seen later: it gets another"
        )
        node = replace(taken.node, ipv4=None) if family == 4 else replace(taken.node, ipv6=None)
        after.append(replace(taken, node=node, lost=taken.lost | {family}))
    return after


def _own_names(nodes: list[Taken], ledger: Ledger) -> list[Taken]:
    holders: dict[str, int] = {}
    reserved = {taken.node.given_name for taken in nodes}
    after = []
    for taken in nodes:
        name = taken.node.given_name
        if name in holders:
            name = unique_label(name, reserved)
            reserved.add(name)
            ledger.repaired(
                taken.row,
                f"node {holders[taken.node.given_name]} has its name {taken.node.given_name!r} too: "
                f"it becomes {name!r}",
            )
            taken = replace(taken, node=replace(taken.node, given_name=name))
        holders[name] = taken.node.id
        after.append(taken)
    return after
