"""The law of maps: whatever happens, and whichever moments a stream is slow to hear of, its client ends up knowing
what a client that starts now is told."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from unittest.mock import patch

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from harness.clients.mapframes import MapFrameReader
from harness.clients.netmap import Json, NetMap
from headscale.mapper import blocks
from headscale.mapper.blocks import FullMaps, PeerBlocks
from headscale.mapper.build import build_head, build_map
from headscale.mapper.diff import compare, message_for, news_for
from headscale.mapper.render import PeerBytes
from headscale.mapper.round import Round, framed
from headscale.mapper.stream import Stream
from headscale.records import DNSSettings
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.maps import MapResponse
from tests.builders import SETTINGS, tailnet
from tests.property.netmaps import known
from tests.property.strategies import USERS, Act, World, acts, histories, steered

ENCODER = msgspec.json.Encoder()


@dataclass
class Viewer:
    """A client with an open stream: the snapshot that it was sent last, and what it makes of the messages."""

    node_id: int
    sent: Snapshot
    netmap: NetMap
    touched: set[int] = field(default_factory=set)


def hear(netmap: NetMap, message: MapResponse | None, now: datetime) -> None:
    """Apply a message as it arrives: through its JSON."""
    if message is not None:
        netmap.apply(msgspec.json.decode(ENCODER.encode(message)), now=now.isoformat())


def fresh(world: World, node_id: int, *, version: int) -> NetMap:
    """What a client that asks now is told."""
    netmap = NetMap(version=version)
    node = world.snapshot.nodes[node_id]
    full = build_map(world.snapshot, node, peer_bytes=PeerBytes(SETTINGS), version=version, now=world.now)
    hear(netmap, full, world.now)
    return netmap


def catch_up(world: World, viewer: Viewer, peer_bytes: PeerBytes) -> None:
    """Send the one message that brings a stream to the present, however far behind it is."""
    comparison = compare(viewer.sent, world.snapshot, viewer.touched, peer_bytes=peer_bytes)
    message = message_for(
        comparison,
        news_for(comparison, viewer.node_id),
        viewer_id=viewer.node_id,
        version=viewer.netmap.version,
        now=world.now,
    )
    hear(viewer.netmap, message, world.now)
    viewer.sent, viewer.touched = world.snapshot, set()


def worlds() -> st.SearchStrategy[World]:
    """Tailnets with one DNS set-up for all, with one for each node, and with routers that the policy steers to."""
    own = DNSSettings(nameservers=("https://dns.nextdns.io/x",), override_local_dns=True)
    named = DNSSettings(certificates=True)
    bare = st.sampled_from([DNSSettings(), own, named]).map(
        lambda dns: World(tailnet(*USERS, settings=replace(SETTINGS, dns=dns)))
    )
    return bare | st.builds(steered)


def steps() -> st.SearchStrategy[list[tuple[Act, list[int]]]]:
    """A history, and after each act the viewers that hear of it at once; the others hear later."""
    some = st.sampled_from([[], [], [0, 1, 2, 3, 4], [1], [2, 3], [0, 4]])
    return st.tuples(histories(size=5), st.lists(st.tuples(acts(), some), max_size=35)).map(
        lambda parts: [(act, []) for act in parts[0]] + parts[1]
    )


@given(world=worlds(), history=steps(), version=st.sampled_from([113, 142]))
def test_deltas_add_up_to_the_full_map(
    world: World, history: list[tuple[Act, list[int]]], version: int
) -> None:
    """For every viewer: the full map and the deltas after it are a full map of now."""
    viewers, peer_bytes = dict[int, Viewer](), PeerBytes(SETTINGS)
    for act, listeners in history:
        effect = world.play(act)
        for viewer in viewers.values():
            viewer.touched |= effect.touched if effect else frozenset()
        for node_id in [gone for gone in viewers if gone not in world.snapshot.nodes]:
            del viewers[node_id]
        for node_id in world.snapshot.nodes:
            if node_id not in viewers:
                viewers[node_id] = Viewer(node_id, world.snapshot, fresh(world, node_id, version=version))
        for viewer in [v for v in viewers.values() if v.node_id % 5 in listeners]:
            catch_up(world, viewer, peer_bytes)
    for viewer in viewers.values():
        catch_up(world, viewer, peer_bytes)
        now = known(fresh(world, viewer.node_id, version=version), world.now)
        assert known(viewer.netmap, world.now) == now


@given(history=histories(size=20))
def test_nobody_hears_what_changed_nothing(history: list[Act]) -> None:
    """Comparing a snapshot with itself says nothing to anyone, whoever is said to be touched."""
    world = World()
    for act in history:
        world.play(act)
    same = world.snapshot
    comparison = compare(same, same, set(same.nodes), peer_bytes=PeerBytes(SETTINGS))
    for node_id in same.nodes:
        news = news_for(comparison, node_id)
        assert message_for(comparison, news, viewer_id=node_id, version=142, now=world.now) is None


@given(world=worlds(), before=histories(size=12), after=st.lists(acts(), max_size=12))
def test_a_shared_frame_is_what_each_of_its_viewers_would_be_sent_alone(
    world: World, before: list[Act], after: list[Act]
) -> None:
    peer_bytes, touched = PeerBytes(SETTINGS), set[int]()
    for act in before:
        world.play(act)
    old = world.snapshot
    for act in after:
        effect = world.play(act)
        touched |= effect.touched if effect else frozenset()
    new = replace(world.snapshot, epoch=old.epoch + 1)
    due = Round(
        new,
        world.now,
        peer_bytes=peer_bytes,
        peer_blocks=PeerBlocks(),
        touched_since=lambda epoch: frozenset(touched),
    )
    alone = compare(old, new, touched, peer_bytes=peer_bytes)
    for node_id in sorted({*old.nodes} & {*new.nodes}):
        stream = Stream(node_id=node_id, version=142, compress=False, sink=_NOWHERE, sent=old)
        news = news_for(alone, node_id)
        message = message_for(alone, news, viewer_id=node_id, version=142, now=world.now)
        own = framed(message, compress=False) if message else None
        assert due.frame_for(stream, new.nodes[node_id]).data == own


@given(history=histories(size=20), size=st.sampled_from([1, 2, 3]))
def test_a_map_in_blocks_is_the_map_written_whole(history: list[Act], size: int) -> None:
    """Through a history, with blocks that stay from one moment to the next, for every viewer that has enough peers."""
    world, peer_bytes, peer_blocks = World(), PeerBytes(SETTINGS), PeerBlocks()
    with patch.multiple(blocks, BLOCK=size, WORTHWHILE=2 * size):
        for act in history:
            world.play(act)
            maps = FullMaps(world.snapshot, peer_bytes, peer_blocks)
            for node in world.snapshot.nodes.values():
                form: dict[str, Any] = {"peer_bytes": peer_bytes, "version": 142, "now": world.now}
                data = maps.frame(
                    node,
                    head=lambda owners, n=node, f=form: build_head(world.snapshot, n, owners=owners, **f),
                )
                whole = msgspec.json.decode(ENCODER.encode(build_map(world.snapshot, node, **form)))
                assert data is None or by_number(data) == whole


def by_number(data: bytes) -> Json:
    """The one message of these bytes, its peers by number."""
    [message] = MapFrameReader(compress="zstd").receive(data)
    return {**message, "Peers": sorted(message["Peers"], key=lambda peer: peer["ID"])}


class _Nowhere:
    """Takes nothing."""

    writable = False

    def send(self, data: bytes) -> None:
        raise AssertionError

    def end(self) -> None:
        raise AssertionError


_NOWHERE = _Nowhere()
