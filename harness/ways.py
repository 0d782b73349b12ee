"""Which way packets take to a machine without a client, behind routers or an exit node: told by the address they come
from.

A router that hides senders behind its own address (the default) shows by that address that it carried the packet; one
that does not shows the sender's tailnet address.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.backends.machine import Machine
from harness.clients.base import Client
from harness.errors import HarnessError
from harness.wait import Budget, Condition, until

ECHO_PORT = 7
STREAM_PORT = 77

EVERY_SECONDS = 0.1
"""Between the starts of two looks: how exact a measurement is."""

LOOK_SECONDS = 1.0
"""How long a look waits for its answer. The next one does not wait for that."""


@dataclass(frozen=True, slots=True)
class Look:
    """One packet there and back, in the loop's time; `source` is None when nothing came back."""

    began: float
    ended: float
    source: str | None


@dataclass(frozen=True, slots=True)
class Stream:
    """What became of a TCP connection: `ended` is empty when it was alive to the last, else silent, reset or closed."""

    sent: int
    echoed: int
    gap_s: float
    lasted_s: float
    ended: str


async def answer_on(host: Machine) -> None:
    """The machine answers, and keeps streams, on the ports of this module."""
    await host.agent("listen", host="", port=ECHO_PORT)
    await host.agent("mirror_streams", port=STREAM_PORT)


async def source_seen(
    sender: Machine, address: str, *, within: float = LOOK_SECONDS, network: Literal["udp", "tcp"] = "udp"
) -> str | None:
    """The sender's address as the machine at the address sees it, when it answers."""
    where = {
        "network": network,
        "address": address,
        "port": ECHO_PORT,
        "socks": "",
        "nonce": uuid.uuid4().hex,
    }
    seen = await sender.agent("probe", **where, timeout_ms=round(within * 1000))
    return str(seen["answer"]["source"]).rpartition(":")[0].strip("[]") if seen["reached"] else None


async def until_seen_as(
    client: Client, address: str, *sources: str | None, budget: Budget = Budget.REACH
) -> None:
    """Wait until the client's packets to the address come from one of these; None stands for nobody."""
    looker = _Looker(client.machine, address)
    await until(looker, seen_as(*sources), budget)


def seen_as(*sources: str | None) -> Condition[str | None]:
    """The last packet came from one of these."""
    wanted = " or ".join(source or "nobody" for source in sources)
    return Condition(
        f"packets come from {wanted}",
        lambda seen: None if seen in sources else f"they come from {seen or 'nobody'}",
    )


class Followed:
    """The way of a client's packets to an address, looked at without a pause. Made by `followed`."""

    def __init__(self, client: Client, address: str) -> None:
        self.client = client
        self.address = address
        self.looks: list[Look] = []

    @property
    def now(self) -> float:
        """This moment, for the questions below."""
        return asyncio.get_running_loop().time()

    def arrived_after(self, source: str, *, since: float) -> float | None:
        """Seconds from the moment to the first answer to a packet that this router carried; None without one."""
        return min((x.ended - since for x in self._since(since) if x.source == source), default=None)

    def silent_for(self, *, since: float) -> float:
        """The longest time between two answered packets, from the moment on."""
        answered = [since, *(look.began for look in self._since(since) if look.source is not None)]
        ends = [*answered[1:], max(answered[-1], self.now - LOOK_SECONDS)]
        return max(end - start for start, end in zip(answered, ends, strict=True))

    def sources(self, *, since: float) -> list[str]:
        """From whom packets came since then, each change once."""
        seen: list[str] = []
        for look in self._since(since):
            if look.source is not None and (not seen or seen[-1] != look.source):
                seen.append(look.source)
        return seen

    def told(self) -> str:
        """All looks for people: a letter for each router, `.` for no answer."""
        letters: dict[str, str] = {}
        for look in self.looks:
            if look.source is not None:
                letters.setdefault(look.source, chr(ord("a") + len(letters)))
        row = "".join(letters.get(look.source or "", ".") for look in self.looks)
        names = ", ".join(f"{letter} = {source}" for source, letter in letters.items())
        return f"{self.client.name} → {self.address} every {EVERY_SECONDS} s ({names}): {row}"

    def _since(self, moment: float) -> list[Look]:
        return [look for look in self.looks if look.began >= moment]


@contextlib.asynccontextmanager
async def followed(client: Client, address: str) -> AsyncIterator[Followed]:
    """Look at the way all along. Looks overlap, so that one without an answer does not hold up the next."""
    follow = Followed(client, address)

    async def look() -> None:
        began = follow.now
        source = None
        with contextlib.suppress(HarnessError):
            source = await source_seen(client.machine, address)
        follow.looks.append(Look(began, follow.now, source))
        follow.looks.sort(key=lambda each: each.began)

    async def on_and_on() -> None:
        async with asyncio.TaskGroup() as looks:
            while True:
                looks.create_task(look())
                await asyncio.sleep(EVERY_SECONDS)

    task = asyncio.create_task(on_and_on())
    try:
        yield follow
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stream(client: Client, address: str, *, seconds: float) -> Stream:
    """Hold a TCP connection to a machine that keeps streams, and send a line five times a second."""
    told: dict[str, Any] = await client.machine.agent(
        "stream",
        address=address,
        port=STREAM_PORT,
        for_ms=round(seconds * 1000),
        every_ms=200,
        connect_ms=5000,
    )
    return Stream(
        told["sent"], told["echoed"], told["gap_ms"] / 1000, told["elapsed_ms"] / 1000, told["ended"]
    )


@dataclass(slots=True)
class _Looker:
    """The way as a source of facts."""

    machine: Machine
    address: str
    name: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.name = f"the way from {self.machine.name} to {self.address}"

    async def read(self) -> str | None:
        return await source_seen(self.machine, self.address)

    async def changed(self, within: float) -> None:
        await asyncio.sleep(min(within, EVERY_SECONDS))
