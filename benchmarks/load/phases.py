"""What is done to a server, in order, and what is measured while it is done.

Times are what the last client saw, on the machine's one clock; CPU is the server process's alone. Whatever is not
reached within its bound is left out of the figures and said in words.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from benchmarks.load import processes
from benchmarks.load.fleet import Fleet, Json
from benchmarks.load.layout import FIRST_MARK, Layout
from benchmarks.load.probe import lag
from benchmarks.load.servers import HOST, LoadServer

REGISTER_AT_ONCE: Final = 50
# The server has nothing more to say when it has said nothing for so long: twice the longest tick that we know of.
QUIET_SECONDS: Final = 1.6
POLL_SECONDS: Final = 0.1
# What a change costs shows a moment after the last client has it: windows are given back, timers run out.
SETTLE_SECONDS: Final = 0.3
KEY_LIFETIME: Final = timedelta(hours=24)


@dataclass(slots=True)
class Run:
    """One server, its clients, and what was found so far. `within` bounds each wait, in seconds."""

    server: LoadServer
    fleet: Fleet
    layout: Layout
    within: float
    rounds: int
    figures: dict[str, float | None] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    ids: dict[int, int] = field(default_factory=dict)
    serial: int = 0

    @property
    def size(self) -> int:
        """How many nodes the tailnet began with."""
        return len(self.layout.owners)

    def cpu(self) -> float:
        """The server's CPU seconds so far."""
        return processes.cpu_seconds(self.server.pid)

    def next_endpoint(self) -> str:
        """One that nobody has had."""
        self.serial += 1
        return f"192.0.2.1:{10_000 + self.serial}"

    def note(self, key: str, values: list[float | None], *, scale: float = 1.0) -> None:
        """The median of the rounds; none when one of them failed."""
        good = [value for value in values if value is not None]
        self.figures[key] = statistics.median(good) * scale if good and len(good) == len(values) else None
        if None in values:
            self.troubles.append(f"{key}: not reached within {self.within:.0f} s")

    def expected_of(self) -> list[Json]:
        """How many peers each worker's clients have."""
        expected = self.layout.expected()
        return [
            {"expected": {index: expected[index] for index in part if expected[index]}}
            for part in self.fleet.split(range(self.size))
        ]


async def measure(run: Run) -> None:
    """Everything, in the order of the table."""
    empty = processes.memory_mib(run.server.pid)
    await _prepare(run)
    await _register(run)
    await _open_all(run)
    run.figures["idle"] = idle = processes.memory_mib(run.server.pid)
    run.figures["idle_client"] = (idle - empty) * 1024 / run.size
    await _changes(run)  # without probes, which would cost as much as a change
    for phase in (_all_change, _reconnects, _new_nodes):
        await _watched(run, phase)
    peak = processes.memory_mib(run.server.pid, peak=True)
    await _restart(run)
    await _watched(run, _policies)
    run.figures["peak"] = max(peak, processes.memory_mib(run.server.pid, peak=True))
    _note_lags(run)


async def _prepare(run: Run) -> None:
    """Users, a key an owner, the policy if there is to be one, and clients that know all they need."""
    admin, layout = run.server.admin, run.layout
    owners = sorted(set(layout.owners))
    users = {f"u{at}" for at in range(40)} | {owner for owner in owners if not owner.startswith("tag:")}
    ids = {user: await admin.create_user(user) for user in sorted(users)}
    if layout.rules:
        await admin.set_policy(layout.policy(FIRST_MARK))
    keys = {}
    for owner in owners:
        tags = [owner] if owner.startswith("tag:") else []
        key = await admin.create_key(
            ids["u0" if tags else owner], reusable=True, ephemeral=False, lifetime=KEY_LIFETIME, tags=tags
        )
        keys[owner] = key.text
    server_key = await run.server.key()
    nodes = [
        {"index": at, "hostname": f"n{at}", "auth_key": keys[owner]} for at, owner in enumerate(layout.owners)
    ]
    parts = run.fleet.split(range(run.size))
    await run.fleet.tell_each(
        "setup",
        [
            {"host": HOST, "port": run.server.port, "key": server_key, "nodes": [nodes[i] for i in part]}
            for part in parts
        ],
        within=run.within,
    )


async def _register(run: Run) -> None:
    before = run.cpu()
    at_once = max(1, REGISTER_AT_ONCE // len(run.fleet))
    said = await run.fleet.tell_all("register", concurrency=at_once, within=run.within)
    took = max(one["ended"] for one in said) - min(one["began"] for one in said)
    run.figures["registrations"] = run.size / took
    run.figures["registration_cpu"] = (run.cpu() - before) / run.size * 1000


async def _open_all(run: Run) -> None:
    before = run.cpu()
    async with lag(HOST, run.server.port) as took:
        began, known = await _opened(run)
        run.note("known", [known - began if known is not None else None])
        last, messages = await _until_quiet(run)
    run.lags += took
    run.figures["quiet"] = max(last - began, 0.0) if last is not None else None
    run.figures["maps_cpu"] = run.cpu() - before
    run.figures["messages"] = messages / run.size
    for one in await run.fleet.tell_all("stats", within=run.within):
        run.ids |= {int(index): number for index, number in one["ids"].items()}
        run.troubles += one["troubles"]


async def _opened(run: Run) -> tuple[float, float | None]:
    """All clients poll: when that began, and when the last knew everybody."""
    said = await run.fleet.tell_each("open", run.expected_of(), within=run.within)
    return min(one["began"] for one in said), await run.fleet.wait(within=run.within)


async def _until_quiet(run: Run) -> tuple[float | None, int]:
    """When the last message came after which there was silence, if there was; and how many there were."""
    deadline = time.monotonic() + run.within
    while True:
        said = await run.fleet.tell_all("stats", within=run.within)
        last = max(one["last"] for one in said)
        messages = sum(one["messages"] for one in said)
        if time.monotonic() - last >= QUIET_SECONDS:
            return last, messages
        if time.monotonic() > deadline:
            run.troubles.append(f"quiet: still talking after {run.within:.0f} s")
            return None, messages
        await asyncio.sleep(POLL_SECONDS)


async def _changes(run: Run) -> None:
    seconds, cpu = [], []
    for at in range(run.rounds * 3):
        index = (at * 7) % run.size
        took, spent = await _change(run, [index])
        seconds.append(took)
        cpu.append(spent)
    run.note("change", seconds, scale=1000)
    run.note("change_cpu", cpu, scale=1000)


async def _all_change(run: Run) -> None:
    results = [await _change(run, list(range(run.size))) for _ in range(run.rounds)]
    run.note("all_change", [took for took, _ in results])
    run.note("all_change_cpu", [spent for _, spent in results])


async def _change(run: Run, indices: list[int]) -> tuple[float | None, float | None]:
    """These clients change their endpoints: seconds until the last that sees them knows, and server CPU."""
    endpoint = run.next_endpoint()
    everybody = len(indices) == run.size
    changing = None if everybody else [run.ids[index] for index in indices]
    await run.fleet.tell_all("expect_endpoint", endpoint=endpoint, changing=changing, within=run.within)
    before = run.cpu()
    parts = run.fleet.split(indices)
    told = [at for at, part in enumerate(parts) if part]
    said = await asyncio.gather(
        *(
            run.fleet.tell(at, "report", indices=parts[at], endpoint=endpoint, within=run.within)
            for at in told
        )
    )
    seen = await run.fleet.wait(within=run.within)
    await asyncio.sleep(SETTLE_SECONDS)
    began = min(one["began"] for one in said)
    return (seen - began if seen else seen), run.cpu() - before


async def _reconnects(run: Run) -> None:
    firsts: list[float | None] = []
    cpu: list[float | None] = []
    for at in range(run.rounds):
        parts = run.fleet.split(range(at, run.size, 5))
        before = run.cpu()
        said = await run.fleet.tell_each(
            "reconnect", [{"indices": part} for part in parts], within=run.within
        )
        waits = sorted(wait for one in said for wait in one["seconds"])
        firsts.append(waits[(len(waits) * 99) // 100] if waits else None)
        await asyncio.sleep(SETTLE_SECONDS)
        cpu.append(run.cpu() - before)
    run.note("reconnect", firsts)
    run.note("reconnect_cpu", cpu)


async def _new_nodes(run: Run) -> None:
    """Each round one more; they stay, and are not counted among those of whom the other phases speak."""
    owner = run.layout.owners[0]
    user = {one.name: one.id for one in await run.server.admin.users()}
    tags = [owner] if owner.startswith("tag:") else []
    key = await run.server.admin.create_key(
        user["u0" if tags else owner], reusable=True, ephemeral=True, lifetime=KEY_LIFETIME, tags=tags
    )
    seconds: list[float | None] = []
    for at in range(run.rounds):
        name, index = f"new{at}", run.size + at
        await run.fleet.tell_all(
            "expect_name", indices=run.layout.viewers(owner), name=name, within=run.within
        )
        node = {"index": index, "hostname": name, "auth_key": key.text}
        said = await run.fleet.tell(run.fleet.home(index), "join", node=node, within=run.within)
        seen = await run.fleet.wait(within=run.within)
        seconds.append(max(seen - said["began"], 0.0) if seen is not None else None)
        await run.fleet.tell(run.fleet.home(index), "leave", index=index, within=run.within)
    run.note("new_node", seconds, scale=1000)


async def _restart(run: Run) -> None:
    """The clients lose their connections; the process ends, starts, and they all come back when it answers."""
    await run.fleet.tell_all("hang_up", within=run.within)
    await run.server.stop()
    run.figures["restart_up"] = await run.server.start()
    async with lag(HOST, run.server.port) as took:  # how long somebody else waits while all come back at once
        began, known = await _opened(run)
        await _until_quiet(run)
    run.note("restart", [known - began if known is not None else None])
    if took:
        run.figures["restart_lag"] = max(took) * 1000
    run.figures["restart_cpu"] = run.cpu()


async def _policies(run: Run) -> None:
    seconds: list[float | None] = []
    cpu: list[float | None] = []
    for at in range(1, run.rounds + 1):
        mark = FIRST_MARK + at
        await run.fleet.tell_all("expect_filter", indices=run.layout.filtered(), port=mark, within=run.within)
        before, began = run.cpu(), time.monotonic()
        await run.server.admin.set_policy(run.layout.policy(mark))
        seen = await run.fleet.wait(within=run.within)
        seconds.append(seen - began if seen is not None else None)
        await asyncio.sleep(SETTLE_SECONDS)
        cpu.append(run.cpu() - before)
    run.note("policy", seconds)
    run.note("policy_cpu", cpu)


async def _watched(run: Run, phase: Callable[[Run], Awaitable[None]]) -> None:
    """A phase, with the lag of the server's loop beside it."""
    async with lag(HOST, run.server.port) as took:
        await phase(run)
    run.lags += took


def _note_lags(run: Run) -> None:
    lags = sorted(run.lags)
    if lags:
        run.figures["lag_p99"] = lags[len(lags) * 99 // 100] * 1000
        run.figures["lag_max"] = lags[-1] * 1000
