"""What administrators decide while the server runs: whether new devices wait for their approval."""

from dataclasses import replace
from typing import TypeVar

from headscale.errors import Conflict
from headscale.records import Node, Preferences, Update, Write
from headscale.state.effect import Effect, Moment
from headscale.state.nodes import own_node
from headscale.state.snapshot import Snapshot, put_node

T = TypeVar("T")


def set_device_approval(snapshot: Snapshot, moment: Moment, *, on: bool) -> Effect[Preferences]:
    """New devices wait from now on, or none does any more: turned off, those that wait are let in.

    Raises Conflict where the operator's configuration decides.
    """
    if snapshot.settings.device_approval is not None:
        raise Conflict("node.device_approval is set in the server's configuration: change it there")
    after = replace(snapshot.preferences, device_approval=on)
    effect = Effect(replace(snapshot, preferences=after), after, (Update(after),))
    return effect if on else _with_all_let_in(effect)


def let_waiting_in(snapshot: Snapshot, moment: Moment) -> Effect[None]:
    """At a start: nobody waits in a tailnet that asks for no approval."""
    effect: Effect[None] = Effect(snapshot, None)
    return effect if snapshot.needs_approval else _with_all_let_in(effect)


def authorize_node(snapshot: Snapshot, moment: Moment, *, node_id: int, on: bool = True) -> Effect[Node]:
    """An administrator lets the node in, or makes it wait again: it sees nobody then, and nobody sees it."""
    node = own_node(snapshot, node_id)
    if node.authorized == on:
        return Effect(snapshot, node)
    changed = replace(node, authorized=on)
    return Effect(put_node(snapshot, changed), changed, (Update(changed),), frozenset({node_id}))


def _with_all_let_in(effect: Effect[T]) -> Effect[T]:
    after, writes, touched = effect.snapshot, list[Write](effect.writes), set(effect.touched)
    for node in effect.snapshot.nodes.values():
        if not node.authorized:
            let_in = replace(node, authorized=True)
            after = put_node(after, let_in)
            writes.append(Update(let_in))
            touched.add(node.id)
    return Effect(after, effect.result, tuple(writes), frozenset(touched))
