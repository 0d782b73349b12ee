"""`/bootstrap-dns`: what one question may cost."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

from headscale.clock import ManualClock
from headscale.derp import bootstrap
from headscale.derp.bootstrap import BootstrapDns

START = datetime(2026, 1, 1, tzinfo=UTC)


async def test_hosts_are_resolved_and_failures_left_out() -> None:
    """An unknown host and a name that is none do not spoil the rest."""

    async def resolve(host: str) -> list[str]:
        if host == "gone":
            raise OSError("unknown")
        return [] if host == "empty" else ["192.0.2.1"]

    dns = BootstrapDns(lambda: ["a", "gone", "empty", "a"], ManualClock(START), resolve)
    assert await dns.answer() == {"a": ["192.0.2.1"]}


async def test_an_answer_is_kept_for_a_minute() -> None:
    """Many who ask at once cause one resolution; after a minute there is another."""
    asked: Counter[str] = Counter()

    async def resolve(host: str) -> list[str]:
        asked[host] += 1
        await asyncio.sleep(0)
        return ["192.0.2.1"]

    clock = ManualClock(START)
    dns = BootstrapDns(lambda: ["a"], clock, resolve)
    await asyncio.gather(*(dns.answer() for _ in range(20)))
    clock.advance(timedelta(seconds=bootstrap.KEPT_FOR - 0.1))
    await dns.answer()
    assert asked["a"] == 1
    clock.advance(timedelta(seconds=0.2))
    await dns.answer()
    assert asked["a"] == 2


async def test_no_more_than_the_limit_is_resolved() -> None:
    """A hundred hosts, one more is left out."""
    resolved: list[str] = []

    async def resolve(host: str) -> list[str]:
        resolved.append(host)
        return ["192.0.2.1"]

    hosts = [f"h{number:03}" for number in range(bootstrap.MAX_HOSTS + 1)]
    answer = await BootstrapDns(lambda: hosts, ManualClock(START), resolve).answer()
    assert sorted(answer) == sorted(resolved) == hosts[:-1]


async def test_a_slow_host_is_left_out(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """The answer comes in time, with what is known."""
    monkeypatch.setattr(bootstrap, "RESOLVE_LIMIT", 0.01)

    async def resolve(host: str) -> list[str]:
        if host == "slow":
            await asyncio.Event().wait()
        return ["192.0.2.1"]

    answer = await BootstrapDns(lambda: ["fast", "slow"], ManualClock(START), resolve).answer()
    assert answer == {"fast": ["192.0.2.1"]}


async def test_without_hosts_the_answer_is_empty() -> None:
    """Nothing is waited for."""
    assert await BootstrapDns(list, ManualClock(START), bootstrap.resolve_host).answer() == {}
