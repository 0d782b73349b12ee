"""What a worker waits for at all of its clients: each is struck off when it has seen it.

All clocks are CLOCK_MONOTONIC, which the processes of a machine share.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping

from benchmarks.load.node import LoadNode, Message, Peer


class Waiting:
    """The clients that have not seen it yet; `done` is the time when the last had."""

    def __init__(self, indices: Iterable[int]) -> None:
        self.left = set(indices)
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if not self.left:
            self.done.set_result(0.0)

    def strike(self, index: int) -> None:
        """This client has seen it."""
        if index in self.left:
            self.left.remove(index)
            if not self.left and not self.done.done():
                self.done.set_result(time.monotonic())

    def __call__(self, node: LoadNode, message: Message) -> None:
        """A client's message."""
        if node.index in self.left and self.has_seen(node, message):
            self.strike(node.index)

    def has_seen(self, node: LoadNode, message: Message) -> bool:
        """Whether that was it."""
        raise NotImplementedError


class KnowsPeers(Waiting):
    """Until each knows so many peers."""

    def __init__(self, expected: Mapping[int, int]) -> None:
        super().__init__(expected)
        self._expected = expected

    def has_seen(self, node: LoadNode, message: Message) -> bool:
        return len(node.known) >= self._expected[node.index]


class SeesEndpoint(Waiting):
    """Until each was told this endpoint of all those (None: everybody) whom it knows."""

    def __init__(self, nodes: Iterable[LoadNode], endpoint: str, changing: set[int] | None) -> None:
        self._missing = {
            node.index: set(node.known) if changing is None else node.known & changing for node in nodes
        }
        super().__init__(index for index, missing in self._missing.items() if missing)
        self._endpoint = endpoint

    def has_seen(self, node: LoadNode, message: Message) -> bool:
        missing = self._missing[node.index]
        for one in (*(message.patches or ()), *(message.changed or ()), *(message.peers or ())):
            if one.endpoints and self._endpoint in one.endpoints:
                missing.discard(one.id)
        return not missing


class SeesName(Waiting):
    """Until each of these knows a peer of this name."""

    def __init__(self, indices: Iterable[int], name: str) -> None:
        super().__init__(indices)
        self._start = f"{name}."

    def has_seen(self, node: LoadNode, message: Message) -> bool:
        peers: list[Peer] = [*(message.changed or ()), *(message.peers or ())]
        return any(peer.name.startswith(self._start) for peer in peers)


class SeesFilter(Waiting):
    """Until each of these has a packet filter that names this port."""

    def __init__(self, indices: Iterable[int], port: int) -> None:
        super().__init__(indices)
        self._port = str(port).encode()

    def has_seen(self, node: LoadNode, message: Message) -> bool:
        return any(self._port in bytes(rules) for rules in (message.filter, message.filters))
