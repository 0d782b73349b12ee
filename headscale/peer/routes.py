"""Which routes of a node are approved: in a column from 0.26 on, in a table of enabled ones before."""

from collections import defaultdict
from collections.abc import Mapping

from headscale.peer.cells import Unreadable, flag_of, id_of, list_of, text_of
from headscale.peer.report import Ledger
from headscale.peer.rows import ROUTES, PeerDatabase, Row
from headscale.peer.times import is_set
from headscale.policy.subjects import EXIT_ROUTES
from headscale.state.routes import network_of, plain_routes


def enabled_routes(database: PeerDatabase) -> Mapping[int, tuple[str, ...]]:
    """By node id, what the old table enables."""
    enabled: dict[int, list[str]] = defaultdict(list)
    for row in database.rows(ROUTES):
        node_id = _node_id(row)
        if node_id is not None and _why_not(row) is None:
            enabled[node_id].append(text_of(row.get("prefix")))
    return {node_id: tuple(prefixes) for node_id, prefixes in enabled.items()}


def settle_routes(database: PeerDatabase, nodes: Mapping[int, Row], ledger: Ledger) -> None:
    """The old table's rows share the fate of their nodes, which are given by the peer's ids."""
    for row in database.rows(ROUTES):
        parent = nodes.get(_node_id(row) or 0)
        if (why_not := _why_not(row)) is not None:
            ledger.left_out(row, why_not)
        elif parent is None:
            ledger.left_out(row, "its node does not exist or does not come in")
        else:
            ledger.follows(row, parent)


def approved_routes(row: Row, enabled: tuple[str, ...], ledger: Ledger) -> tuple[str, ...]:
    """The node's approved routes as we keep them; one exit route stands for both families."""
    try:
        given = (*list_of(row.get("approved_routes")), *enabled)
    except Unreadable:
        ledger.repaired(row, "its approved routes cannot be read: it has none; approve them again")
        given = enabled
    wrong = sorted({text for text in given if network_of(text) is None})
    if wrong:
        ledger.repaired(row, f"approved routes that are no prefixes are dropped: {', '.join(wrong)[:200]}")
    exits = {str(route) for route in EXIT_ROUTES}
    return plain_routes({*given, *exits} if not exits.isdisjoint(given) else given)


def _why_not(row: Row) -> str | None:
    if is_set(row.get("deleted_at")):
        return "it was deleted"
    if not flag_of(row.get("enabled")):
        return "it was not enabled; the node advertises it again"
    return None if network_of(text_of(row.get("prefix"))) is not None else "it is no prefix"


def _node_id(row: Row) -> int | None:
    try:
        return id_of(row.get("node_id", "machine_id"))
    except Unreadable:
        return None
