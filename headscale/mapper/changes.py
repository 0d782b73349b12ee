"""What happened to a node, in the eyes of those who see it all along.

The rules that clients impose (docs/protocol.md, "Deltas"):

- a patch can set but not clear, so a peer that lost its relay region is sent whole;
- a client turns a whole peer that differs in nothing but what a patch can say into such a patch, and loses what
  appeared or went in it (`LastSeen`); so a patch says it beside the whole;
- `Online` and `Endpoints` are always explicit;
- a new disco key travels with the peer's online state and a newer time.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import structs

from headscale.mapper.render import peer_node
from headscale.mapper.view import peer_look
from headscale.records import Node, User
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.node import PeerChange

# What stands for "the key never ends" in a patch, where absence means "unchanged".
NO_EXPIRY: Final = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Change:
    """A node's change: whether it is sent whole, the patch (beside or instead), and whether its owner's profile is.

    Routes are not looked at, because each viewer may have other ones.
    """

    whole: bool
    patch: PeerChange | None
    reowned: bool


def change_of(old: Snapshot, new: Snapshot, node_id: int) -> Change:
    """The change of a node that is in both snapshots."""
    before, after = old.nodes[node_id], new.nodes[node_id]
    was, look = peer_look(old, node_id), peer_look(new, node_id)
    # A client reduces a whole that differs in capabilities to a patch as well.
    rest = peer_node(
        new.settings, _but_for_patches(before, after), replace(look, capabilities=was.capabilities)
    )
    says_all = rest == peer_node(old.settings, before, was)
    return Change(
        whole=not says_all or look.capabilities != was.capabilities or _needs_whole(before, after),
        patch=_patch(before, after) if says_all else None,
        reowned=_owner(old, before) != _owner(new, after),
    )


def _owner(snapshot: Snapshot, node: Node) -> User | None:
    return snapshot.users.get(node.user_id or 0)


def _but_for_patches(before: Node, after: Node) -> Node:
    """The node as it is now, but for what a PeerChange can carry."""
    return replace(
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
