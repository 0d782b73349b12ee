"""Answers `/bootstrap-dns`: the addresses of hosts that clients must find when their own DNS is broken.

Anyone may ask, so what one question costs is bounded: the hosts are ours to choose, the answer is kept for a
while, one resolution runs at a time and ends in time. A host that does not resolve is left out.
Source: tailscale v1.102.4, net/dnsfallback/dnsfallback.go (clients), cmd/derper/bootstrap_dns.go.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from headscale.clock import Clock

MAX_HOSTS: Final = 100  # Tailscale's own map has about 90
RESOLVE_LIMIT: Final = 5.0  # seconds for all hosts together
KEPT_FOR: Final = 60.0  # seconds; addresses of relays change rarely

Resolve = Callable[[str], Awaitable[list[str]]]


async def resolve_host(host: str) -> list[str]:
    """The addresses of a host from the system's resolver, sorted; raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(address[4][0]) for address in found})


class BootstrapDns:
    """The answer and its age. `hosts` is asked whenever the answer is made anew."""

    def __init__(self, hosts: Callable[[], Iterable[str]], clock: Clock, resolve: Resolve) -> None:
        self._hosts = hosts
        self._clock = clock
        self._resolve = resolve
        self._lock = asyncio.Lock()
        self._answer: dict[str, list[str]] = {}
        self._fresh_until = float("-inf")

    async def answer(self) -> dict[str, list[str]]:
        """Addresses by host, at most KEPT_FOR old."""
        async with self._lock:
            if self._clock.monotonic() >= self._fresh_until:
                self._answer = await self._resolve_all()
                self._fresh_until = self._clock.monotonic() + KEPT_FOR
        return self._answer

    async def _resolve_all(self) -> dict[str, list[str]]:
        hosts = sorted(set(self._hosts()))[:MAX_HOSTS]
        tasks = {host: asyncio.ensure_future(self._resolve(host)) for host in hosts}
        if tasks:
            _, late = await asyncio.wait(tasks.values(), timeout=RESOLVE_LIMIT)
            for task in late:
                task.cancel()
        return {host: addresses for host, task in tasks.items() if (addresses := _result(task))}


def _result(task: asyncio.Future[list[str]]) -> list[str]:
    """What was found; nothing for a host that is unknown or was too slow. UnicodeError: not a host name."""
    if not task.done() or task.cancelled():
        return []
    match task.exception():
        case None:
            return task.result()
        case OSError() | UnicodeError():
            return []
        case error:
            raise error
