"""A server whose machine is not in UTC: what is said and kept is UTC all the same, and nothing is early or late."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.fakes import Join, Tailnet, registered, until


@pytest.fixture(autouse=True, params=["America/Los_Angeles", "Asia/Kolkata"])
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process in another time zone, the server in it as well."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    assert datetime.now().astimezone().utcoffset() != timedelta()
    yield
    monkeypatch.undo()
    time.tzset()


async def test_a_key_is_good_for_as_long_as_it_says(tailnet: Tailnet) -> None:
    """Not hours more or less: one that ends in a minute works, one that ended a minute ago does not."""
    await registered(await tailnet.client(), await tailnet.key(lifetime=timedelta(minutes=1)))
    ended = await tailnet.key(lifetime=timedelta(minutes=-1))
    assert "has expired" in (await (await tailnet.client()).register(auth_key=ended))["Error"]


async def test_nodes_end_and_are_seen_in_utc(tailnet: Tailnet, join: Join) -> None:
    """An expiry survives a restart to the second, and a present one is no past one."""
    one, other = await join("one"), await join("other", ephemeral=True)
    stream = await one.stream()
    await (await other.stream()).quiet(0.2)
    soon = (datetime.now(UTC) + timedelta(minutes=2)).replace(microsecond=0)
    await tailnet.server.expire_node(str(other.id), at=soon)
    told = await until(stream, lambda netmap: "KeyExpiry" in netmap.peers[other.id])
    assert datetime.fromisoformat(told.peers[other.id]["KeyExpiry"]) == soon
    await one.client.close()
    await other.client.close()
    await tailnet.server.stop()
    await tailnet.server.start()
    kept = tailnet.node(other.id)
    assert (kept.expiry, kept.expired) == (soon, False)
    assert abs(kept.last_seen - datetime.now(UTC)) < timedelta(minutes=1)
    assert tailnet.node(other.id) is not None  # ephemeral, and away for a moment only
