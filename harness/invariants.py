"""What must hold of a tailnet at every quiet moment, as pure checks: each gives its complaints, none when all is well.

They take what an administrator sees (the server's list of nodes) and what clients hold (their netmaps), so that they
fit any control server. What only holds once everybody has heard of a change is asked after waiting for it.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from harness.clients.netmap import Json, NetMap
from harness.servers.base import ServerNode


def nothing_is_shared(nodes: Sequence[ServerNode]) -> list[str]:
    """Addresses, names, node keys and numbers each have one owner, and a node is a user's or its tags'."""
    complaints = []
    for what, values in (
        ("number", [node.id for node in nodes]),
        ("name", [node.given_name for node in nodes]),
        ("node key", [node.node_key for node in nodes]),
        ("address", [address for node in nodes for address in node.addresses]),
    ):
        twice = sorted(value for value, times in Counter(values).items() if times > 1)
        complaints += [f"{what} {value} has two owners" for value in twice]
    return complaints


def numbers_only_grow(before: Iterable[str], now: Iterable[str], highest: int) -> list[str]:
    """A node that is new has a higher number than every one before it, gone ones included."""
    new = {int(number) for number in now} - {int(number) for number in before}
    return [f"node number {number} was used before" for number in sorted(new) if number <= highest]


def sight_is_mutual(netmaps: Mapping[int, NetMap]) -> list[str]:
    """Of two clients that hold a netmap, either both see the other or neither does. By node number."""
    return [
        f"node {one} sees node {other}, which does not see it"
        for one, netmap in netmaps.items()
        for other in netmap.peers
        if other in netmaps and one not in netmaps[other].peers
    ]


def nobody_is_seen_who_is_not_there(netmaps: Mapping[int, NetMap], nodes: Sequence[ServerNode]) -> list[str]:
    """Peers are nodes of the tailnet: none that was deleted, none under a key that it gave up."""
    keys = {int(node.id): node.node_key for node in nodes}
    return [
        f"node {viewer} sees node {number} with the key {peer.get('Key')}, the server has {keys.get(number)}"
        for viewer, netmap in netmaps.items()
        for number, peer in netmap.peers.items()
        if keys.get(number) != peer.get("Key")
    ]


def owners_are_known(netmaps: Mapping[int, NetMap]) -> list[str]:
    """A client has the profile of every user whose node it sees."""
    return [
        f"node {viewer} does not know user {peer.get('User')} of node {number}"
        for viewer, netmap in netmaps.items()
        for number, peer in netmap.peers.items()
        if peer.get("User") not in netmap.profiles
    ]


def presence_is_true(nodes: Sequence[ServerNode], connected: Iterable[int]) -> list[str]:
    """A node is online exactly when its client is connected."""
    here = set(connected)
    return [
        f"node {node.id} is {'online' if node.online else 'offline'}, its client is {said}"
        for node in nodes
        if node.online != (int(node.id) in here)
        for said in ("connected" if int(node.id) in here else "away",)
    ]


def messages_are_in_order(messages: Sequence[Json]) -> list[str]:
    """Of one stream: the first is a whole map, and the server's time never steps back."""
    complaints = []
    if messages and not messages[0].get("Node"):
        complaints.append("the first message lacks a node")
    times = [message["ControlTime"] for message in messages if message.get("ControlTime")]
    pairs = itertools.pairwise(times)
    return complaints + [f"{later} follows {earlier}" for earlier, later in pairs if later < earlier]
