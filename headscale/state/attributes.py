"""Device attributes: what a node, or an administrator, says of its device (`custom:...`)."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from headscale.errors import Malformed
from headscale.records import AttributeValue, Node, Update
from headscale.state.effect import Effect, Moment
from headscale.state.nodes import own_node
from headscale.state.snapshot import Snapshot, put_node

# Names and sizes are those of the hosted service's device attributes; others than custom: are the server's to say.
_NAME: Final = re.compile(r"custom:[A-Za-z][A-Za-z0-9_]{0,42}")
ATTRIBUTES_MAX: Final = 64
TEXT_MAX: Final = 256


def set_attributes(
    snapshot: Snapshot, moment: Moment, *, node_id: int, update: Mapping[str, AttributeValue | None]
) -> Effect[Node]:
    """Change those that are named; None takes one away. All or none: raises Malformed, naming the first wrong one."""
    effect = set_attributes_of(snapshot, moment, updates={node_id: update})
    return Effect(effect.snapshot, effect.snapshot.nodes[node_id], effect.writes, effect.touched)


def set_attributes_of(
    snapshot: Snapshot, moment: Moment, *, updates: Mapping[int, Mapping[str, AttributeValue | None]]
) -> Effect[None]:
    """As `set_attributes`, for several nodes: all or none."""
    after, changed = snapshot, list[Node]()
    for node_id, update in updates.items():
        node = own_node(snapshot, node_id)
        updated = replace(node, attributes=_updated(node, update))
        if updated.attributes != node.attributes:
            after = put_node(after, updated)
            changed.append(updated)
    return Effect(after, None, tuple(map(Update, changed)), frozenset(node.id for node in changed))


def _updated(node: Node, update: Mapping[str, AttributeValue | None]) -> Mapping[str, AttributeValue]:
    for name, value in update.items():
        _check(name, value)
    merged = {**node.attributes, **update}
    kept = {name: value for name, value in sorted(merged.items()) if value is not None}
    if len(kept) > ATTRIBUTES_MAX:
        raise Malformed(f"{len(kept)} attributes are more than a device may have ({ATTRIBUTES_MAX})")
    return kept


def _check(name: str, value: AttributeValue | None) -> None:
    if not _NAME.fullmatch(name):
        raise Malformed(
            f"{name[:80]!r} is not an attribute's name: expected custom: and up to 43 letters, digits, underscores"
        )
    if isinstance(value, str) and len(value) > TEXT_MAX:
        raise Malformed(f"{name}: a text may have {TEXT_MAX} characters, this has {len(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise Malformed(f"{name}: {value} is not a number that can be kept")
