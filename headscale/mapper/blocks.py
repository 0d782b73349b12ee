"""Full maps of large tailnets, whose peers are compressed once for all who see them.

A map is one JSON text in several zstd frames that follow one another: its head with what only this viewer is shown, the
blocks that it shares with others, its end. Go clients decode such a message as one text: `zstdframe.AppendDecode`, "The
input may consist of zero or more frames" (tailscale.com v1.80.3 and v1.102.4, util/zstdframe/zstd.go and
control/controlclient/direct.go); tailscale-rs asks for no compression.

A block has the nodes of one range of numbers, so that a node that changes spoils one block. Gateways, which look
different to different viewers, and the range of the viewer itself, who is not its own peer, go with the head.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import msgspec

from headscale.mapper.build import encoded_peers
from headscale.mapper.frames import compressed
from headscale.mapper.render import PeerBytes, owner_id
from headscale.mapper.view import class_of, lacks_ipv4, seen_by_class
from headscale.records import Node
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.maps import MapResponse

# Nodes in a block. Larger ones compress a little better, and more is made again when one node changes.
BLOCK: Final = 64
# Below this many peers nothing is gained: the viewer's own range is a good part of its map.
WORTHWHILE: Final = 2 * BLOCK
# Compressed blocks that are kept from one round to the next.
KEPT_BYTES: Final = 16 * 1024 * 1024

_ENCODER: Final = msgspec.json.Encoder()
_END: Final = compressed(b"]}")


@dataclass(frozen=True, slots=True)
class _Block:
    """The peers of a range; `data` is their text, each behind a comma, compressed. `peers` keeps its key true."""

    range: int
    peers: tuple[msgspec.Raw, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class _Sight:
    """What all viewers of a class see in one snapshot; its own range and the gateways are each viewer's own affair."""

    owners: frozenset[int]
    ids: dict[int, tuple[int, ...]]
    blocks: tuple[_Block, ...]
    gateways: tuple[int, ...]


class PeerBlocks:
    """The blocks made so far, the least used forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, ...], _Block] = OrderedDict()
        self._bytes = 0

    def of(self, number: int, peers: tuple[msgspec.Raw, ...]) -> _Block:
        """The block of these encodings. They are told apart by identity: each is made once a version of a node."""
        key = tuple(map(id, peers))
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return known
        block = self._known[key] = _Block(number, peers, compressed(b"," + b",".join(map(bytes, peers))))
        self._bytes += len(block.data)
        while self._bytes > KEPT_BYTES and len(self._known) > 1:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= len(oldest.data)
        return block


class FullMaps:
    """The compressed full maps of one snapshot."""

    def __init__(self, snapshot: Snapshot, peer_bytes: PeerBytes, blocks: PeerBlocks) -> None:
        self._snapshot = snapshot
        self._peer_bytes = peer_bytes
        self._blocks = blocks
        self._sights: dict[object, _Sight] = {}

    def frame(self, node: Node, *, head: Callable[[frozenset[int]], MapResponse]) -> bytes | None:
        """The node's full map as it travels; None for one that is better written as a whole.

        `head` makes the message without peers, for these owners.
        """
        snapshot = self._snapshot
        if lacks_ipv4(snapshot, node.id):  # sees every node in another form
            return None
        sight = self._sight(node)
        if sum(map(len, sight.ids.values())) < WORTHWHILE:
            return None
        own_range = node.id // BLOCK
        own = [i for i in (*sight.gateways, *sight.ids.get(own_range, ())) if i != node.id]
        peers = list(map(bytes, encoded_peers(snapshot, node.id, own, peer_bytes=self._peer_bytes)))
        shared = [block for block in sight.blocks if block.range != own_range]
        if not peers:  # the first in the list has no comma before it
            peers += map(bytes, shared.pop().peers)
        text = _ENCODER.encode(head(sight.owners | {owner_id(node)}))
        body = [
            compressed(b"".join((text[:-1], b',"Peers":[', b",".join(peers)))),
            *(block.data for block in shared),
            _END,
        ]
        return b"".join((struct.pack("<I", sum(map(len, body))), *body))

    def _sight(self, node: Node) -> _Sight:
        key = class_of(self._snapshot, node.id)
        if (known := self._sights.get(key)) is not None:
            return known
        snapshot, table = self._snapshot, self._peer_bytes.table(self._snapshot)
        seen = sorted(seen_by_class(snapshot, node.id))
        plain = [i for i in seen if i not in snapshot.gateways]
        ids = {number: tuple(group) for number, group in groupby(plain, key=_range_of)}
        blocks = (
            self._blocks.of(number, tuple(map(table.plain.__getitem__, group)))
            for number, group in ids.items()
        )
        sight = self._sights[key] = _Sight(
            owners=frozenset(map(table.owners.__getitem__, seen)),
            ids=ids,
            blocks=tuple(blocks),
            gateways=tuple(i for i in seen if i in snapshot.gateways),
        )
        return sight


def _range_of(node_id: int) -> int:
    return node_id // BLOCK
