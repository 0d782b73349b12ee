"""The smallest message that brings a stream from one snapshot to a later one.

What changed for everybody is computed once (`compare`) and shared; only a viewer that changed itself needs a
message of its own (`message_for`). The rules that clients impose (docs/protocol.md, "Deltas"):

- a patch can set but not clear, so a peer that lost its relay region is sent whole;
- a client turns a whole peer that differs in nothing but what a patch can say into such a patch, and loses what
  appeared or went in it (`LastSeen`); so a patch says it beside the whole;
- `Online` and `Endpoints` are always explicit;
- a new disco key travels with the peer's online state and a newer time.
"""

from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import structs

from headscale.derp.regions import for_client
from headscale.mapper.build import profiles
from headscale.mapper.render import PeerBytes, peer_node, self_node
from headscale.records import Node, User
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.maps import MapResponse
from headscale.tailcfg.node import PeerChange, UserProfile

# What stands for "the key never ends" in a patch, where absence means "unchanged".
NO_EXPIRY: Final = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What happened between two snapshots, by node, before anyone's own node is left out."""

    removed: frozenset[int]
    changed: dict[int, msgspec.Raw]
    patches: dict[int, PeerChange]
    profiles: tuple[UserProfile, ...]
    owners_changed: bool
    derp_changed: bool


def compare(old: Snapshot, new: Snapshot, touched: Set[int], *, peer_bytes: PeerBytes) -> Comparison:
    """Sort the touched nodes into removed, changed as a whole, and patched."""
    removed: set[int] = set()
    changed: dict[int, msgspec.Raw] = {}
    patches: dict[int, PeerChange] = {}
    reowned: list[Node] = []
    for node_id in sorted(touched):
        before, after = old.nodes.get(node_id), new.nodes.get(node_id)
        if after is None:
            peer_bytes.forget(node_id)
            removed.update({node_id} if before else ())
            continue
        if before is None:
            changed[node_id] = peer_bytes.of(after)
            continue
        if _owner(old, before) != _owner(new, after):
            reowned.append(after)
        says_all = _is_patchable(before, after, old, new)
        if not says_all or _needs_whole(before, after):
            changed[node_id] = peer_bytes.of(after)
        if says_all and (patch := _patch(before, after)) is not None:
            patches[node_id] = patch
    return Comparison(
        removed=frozenset(removed),
        changed=changed,
        patches=patches,
        profiles=profiles(new, [*(new.nodes[i] for i in changed), *reowned]),
        owners_changed=bool(reowned),
        derp_changed=old.derp_map is not new.derp_map,
    )


def message_for(
    comparison: Comparison,
    old: Snapshot,
    new: Snapshot,
    *,
    viewer_id: int,
    version: int,
    now: datetime,
) -> MapResponse | None:
    """The viewer's message, or None when nothing that it may know of changed."""
    itself = _own_change(old, new, viewer_id)
    removed = tuple(sorted(comparison.removed - {viewer_id}))
    changed = tuple(raw for i, raw in comparison.changed.items() if i != viewer_id)
    patches = tuple(patch for i, patch in comparison.patches.items() if i != viewer_id)
    new_owners = bool(changed) or comparison.owners_changed
    if not (itself or removed or changed or patches or new_owners or comparison.derp_changed):
        return None
    return MapResponse(
        control_time=now,
        node=self_node(new.settings, itself) if itself else None,
        derp_map=for_client(new.derp_map, version) if comparison.derp_changed else None,
        peers_removed=removed,
        peers_changed=changed,
        peers_changed_patch=patches,
        user_profiles=comparison.profiles if new_owners else (),
    )


def _own_change(old: Snapshot, new: Snapshot, viewer_id: int) -> Node | None:
    """The viewer's node when its client has to hear of it: not its own echo, not that it is online."""
    before, after = old.nodes.get(viewer_id), new.nodes.get(viewer_id)
    if before is None or after is None or before is after:
        return None
    told = replace(
        after,
        endpoints=before.endpoints,
        disco_key=before.disco_key,
        online=before.online,
        last_seen=before.last_seen,
        cap_version=before.cap_version,
    )
    return after if self_node(new.settings, told) != self_node(old.settings, before) else None


def _owner(snapshot: Snapshot, node: Node) -> User | None:
    return snapshot.users.get(node.user_id or 0)


def _is_patchable(before: Node, after: Node, old: Snapshot, new: Snapshot) -> bool:
    """Whether a peer differs in nothing but what a PeerChange can carry, as peers see it."""
    rest = replace(
        after,
        node_key=before.node_key,
        disco_key=before.disco_key,
        endpoints=before.endpoints,
        hostinfo=structs.replace(after.hostinfo, net_info=before.hostinfo.net_info),
        expiry=before.expiry,
        expired=before.expired,
        online=before.online,
        last_seen=before.last_seen,
        cap_version=before.cap_version,
    )
    return peer_node(new.settings, rest) == peer_node(old.settings, before)


def _needs_whole(before: Node, after: Node) -> bool:
    """What a patch cannot take back: an end that the client was told of, and a relay region."""
    return (before.expired and not after.expired) or (before.home_derp != 0 and not after.home_derp)


def _patch(before: Node, after: Node) -> PeerChange | None:
    """The patch, or None when peers would see no difference."""
    new_disco = after.disco_key != before.disco_key
    told_seen = new_disco or after.online != before.online or after.last_seen != before.last_seen
    told_expiry = after.expiry != before.expiry or after.expired != before.expired
    patch = PeerChange(
        node_id=after.id,
        derp_region=after.home_derp if after.home_derp != before.home_derp else 0,
        cap=after.cap_version if after.cap_version != before.cap_version else 0,
        endpoints=after.endpoints if after.endpoints != before.endpoints else msgspec.UNSET,
        key=after.node_key if after.node_key != before.node_key else "",
        disco_key=after.disco_key if new_disco else "",
        online=after.online if new_disco or after.online != before.online else msgspec.UNSET,
        last_seen=after.last_seen if told_seen and not after.online else None,
        key_expiry=(after.expiry or NO_EXPIRY) if told_expiry else None,
    )
    return patch if patch != PeerChange(node_id=after.id) else None
