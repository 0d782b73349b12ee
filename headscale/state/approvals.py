"""Who approves a node's routes: the policy by itself (`autoApprovers`), or an administrator.

The policy is looked at when a node registers, when it advertises other routes, and when a policy is set. It only ever
adds approvals; an administrator's list takes the place of all that were there.
"""

from collections.abc import Iterable
from dataclasses import replace

from headscale.errors import Malformed
from headscale.policy.compiled import Compiled
from headscale.policy.subjects import EXIT_ROUTES
from headscale.records import Node, Update
from headscale.state.effect import Effect, Moment
from headscale.state.nodes import own_node
from headscale.state.routes import ADVERTISED_MAX, network_of, plain_routes, with_approvals
from headscale.state.snapshot import Snapshot, put_node
from headscale.state.subjects import subject_of


def approved(policy: Compiled, node: Node) -> Node:
    """The node with what it advertises and the policy approves."""
    waiting = [text for text in node.hostinfo.routable_ips if text not in node.approved_routes]
    if not waiting:
        return node
    subject = subject_of(node)
    granted = (
        text
        for text in waiting
        if (network := network_of(text)) is not None and policy.approves(subject, network)
    )
    return with_approvals(node, granted)


def approve_routes(
    snapshot: Snapshot, moment: Moment, *, node_id: int, routes: Iterable[str]
) -> Effect[Node]:
    """An administrator's choice: these routes of the node are approved and no others, advertised or not.

    One exit route stands for both families. Raises Malformed for what is no prefix, NotFound for no node.
    """
    node = own_node(snapshot, node_id)
    wanted = check_routes(routes)
    exits = {str(route) for route in EXIT_ROUTES}
    if not exits.isdisjoint(wanted):
        wanted = plain_routes({*wanted, *exits})
    if wanted == node.approved_routes:
        return Effect(snapshot, node)
    changed = replace(node, approved_routes=wanted)
    return Effect(put_node(snapshot, changed), changed, (Update(changed),), frozenset({node_id}))


def check_routes(texts: Iterable[str]) -> tuple[str, ...]:
    """The prefixes in the form in which we keep them; raises Malformed for one that is none, or too many."""
    given = tuple(texts)
    if len(given) > ADVERTISED_MAX:
        raise Malformed(f"{len(given)} routes: a node has at most {ADVERTISED_MAX}")
    wrong = [text for text in given if network_of(text) is None]
    if wrong:
        raise Malformed(f"{wrong[0][:80]!r} is not a route: expected a prefix like 10.0.0.0/8 or ::/0")
    return plain_routes(given)
