"""The messages that bring streams to one snapshot, each computed once and shared by all who may hear it.

A round is made for a snapshot and dropped after it: comparisons are kept by the epoch that a stream is at, and
frames by what viewers have in common.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import msgspec
from msgspec import structs

from headscale.counts import MapCounts
from headscale.mapper import frames
from headscale.mapper.blocks import FullMaps, PeerBlocks
from headscale.mapper.build import build_head, build_map
from headscale.mapper.diff import Comparison, compare, kind_of, message_for, news_for
from headscale.mapper.render import PeerBytes
from headscale.mapper.stream import Stream
from headscale.mapper.view import peers_of
from headscale.records import Node
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.maps import MapResponse

_ENCODER = msgspec.json.Encoder()


def framed(message: MapResponse, *, compress: bool) -> bytes:
    """The message as it travels."""
    return frames.frame(_ENCODER.encode(message), compress=compress)


@dataclass(frozen=True, slots=True)
class Frame:
    """What a stream is sent: nothing, or a message of this type. For viewers of a kind but those whom it mentions."""

    data: bytes | None
    type: str = ""
    mentions: frozenset[int] = frozenset()


def type_of(message: MapResponse) -> str:
    """What a message is mostly about, in the peer's words for counting them."""
    if message.packet_filters is not msgspec.UNSET or message.ssh_policy is not None:
        return "policy"
    if message.peers_changed or message.peers_removed:
        return "peers"
    if message.peers_changed_patch:
        return "patch"
    return "self" if message.node is not None else "config"


class Round:
    """See the module. `touched_since` is the writer's: None for an epoch that is too long ago to know."""

    def __init__(
        self,
        snapshot: Snapshot,
        now: datetime,
        *,
        peer_bytes: PeerBytes,
        peer_blocks: PeerBlocks,
        touched_since: Callable[[int], frozenset[int] | None],
        counts: MapCounts | None = None,
    ) -> None:
        self.snapshot = snapshot
        self._now = now
        self._peer_bytes = peer_bytes
        self._touched_since = touched_since
        self._counts = counts or MapCounts()
        self._full_maps = FullMaps(snapshot, peer_bytes, peer_blocks)
        self._comparisons: dict[int, Comparison | None] = {}
        self._frames: dict[Hashable, Frame] = {}

    def frame_for(self, stream: Stream, node: Node) -> Frame:
        """The stream's next frame; one without data when it has nothing to hear."""
        comparison = self._comparison(stream.sent) if stream.sent is not None else None
        if stream.sent is None or comparison is None:
            self._counts.generated["full"] += 1
            return Frame(self._first_frame(stream, node), "full")
        kind = kind_of(comparison, node.id)
        key = (stream.sent.epoch, kind, stream.version if comparison.derp_changed else 0, stream.compress)
        shared = self._frames.get(key) if kind is not None else None
        if shared is not None and node.id not in shared.mentions:
            return shared
        news = news_for(comparison, node.id)
        message = message_for(comparison, news, viewer_id=node.id, version=stream.version, now=self._now)
        if message is None:
            frame = Frame(None, mentions=news.mentions)
        else:
            frame = Frame(framed(message, compress=stream.compress), type_of(message), news.mentions)
            self._counts.generated[frame.type] += 1
        if kind is not None and shared is None:
            self._frames[key] = frame
        return frame

    def full_map(self, node: Node, *, version: int) -> MapResponse:
        """Everything that the node's client needs to start from nothing."""
        return build_map(self.snapshot, node, peer_bytes=self._peer_bytes, version=version, now=self._now)

    def _first_frame(self, stream: Stream, node: Node) -> bytes:
        in_blocks = (
            self._full_maps.frame(node, head=partial(self._head, stream, node)) if stream.compress else None
        )
        return in_blocks or framed(self._start_over(stream, node), compress=stream.compress)

    def _head(self, stream: Stream, node: Node, owners: frozenset[int]) -> MapResponse:
        return build_head(
            self.snapshot,
            node,
            owners=owners,
            peer_bytes=self._peer_bytes,
            version=stream.version,
            now=self._now,
        )

    def _start_over(self, stream: Stream, node: Node) -> MapResponse:
        """A full map. A client ignores an empty list of peers, so those that it knows from before are named."""
        full = self.full_map(node, version=stream.version)
        if stream.sent is None or full.peers:
            return full
        return structs.replace(full, peers_removed=tuple(sorted(peers_of(stream.sent, node.id))))

    def _comparison(self, old: Snapshot) -> Comparison | None:
        """None when the old snapshot is too old to compare with: then a full map is due."""
        if old.epoch not in self._comparisons:
            # Other settings may say anything else of anybody, and are rare.
            is_comparable = old.settings is self.snapshot.settings
            touched = self._touched_since(old.epoch) if is_comparable else None
            self._comparisons[old.epoch] = (
                compare(old, self.snapshot, touched, peer_bytes=self._peer_bytes)
                if touched is not None
                else None
            )
        return self._comparisons[old.epoch]
