"""Nothing of one tailnet may come along into the next."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.backends.base import Completed
from harness.clientfaults import LOST_PEER, Mender
from harness.clients.tailscaled import TailscaledClient
from harness.pool import NotClean, Pool, leftovers

FRESH = """\
1: lo    inet 127.0.0.1/8 scope host lo
2: eth0    inet 10.1.2.3/24 scope global eth0
7: tailscale0    inet6 fe80::1/64 scope link
throw 127.0.0.0/8
1: lo: <LOOPBACK,UP> mtu 65536
2: eth0@if9: <BROADCAST,UP> mtu 1500
7: tailscale0: <POINTOPOINT,UP> mtu 1280
"""


@dataclass
class Returned:
    """A client that came back, as far as it is looked at."""

    kernel: str = FRESH
    changed: dict[str, Any] = field(default_factory=dict)
    have_node_key: bool = False
    name: str = "p1"
    key: str = "nodekey:1"

    async def read(self) -> Any:
        return SimpleNamespace(addresses=(), peers=(), have_node_key=self.have_node_key)

    async def prefs(self) -> dict[str, Any]:
        return {"Hostname": "", "RouteAll": True, **self.changed}

    @property
    def machine(self) -> Any:
        async def execute(*_: Any, **__: Any) -> Completed:
            return Completed((), 0, self.kernel, "", 0.0)

        return SimpleNamespace(exec=execute)

    @property
    def status(self) -> Any:
        return SimpleNamespace(self_node=SimpleNamespace(public_key=self.key))


async def found(client: Returned) -> list[str]:
    return await leftovers(cast(TailscaledClient, client), untouched={"Hostname": "", "RouteAll": True})


async def test_a_fresh_client_has_nothing_left() -> None:
    """What its kernel always has is no complaint."""
    assert await found(Returned()) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("7: tailscale0    inet 100.64.0.1/32 scope global", "100.64.0.1/32"),
        ("10.33.5.0/24 dev tailscale0", "10.33.5.0/24 dev tailscale0"),
        ("3: eth1@if9: <BROADCAST,UP> mtu 1500", "eth1"),
    ],
)
async def test_what_is_left_in_the_kernel_is_told(line: str, said: str) -> None:
    """An address of the tailnet, a route into it, a cable."""
    [complaint] = await found(Returned(kernel=f"{FRESH}{line}\n"))
    assert said in complaint


async def test_keys_and_preferences_that_are_left_are_told() -> None:
    """Those that differ from a client's that was never in a tailnet."""
    assert await found(Returned(have_node_key=True)) == ["a node key"]
    assert await found(Returned(changed={"RouteAll": False})) == ["the preference RouteAll False"]


def test_a_node_key_is_used_by_one_client_only() -> None:
    """A key that another machine had means that its state came along."""
    pool = Pool(cast(Any, None))
    pool.joined(cast(TailscaledClient, Returned()))
    pool.joined(cast(TailscaledClient, Returned(name="p2", key="nodekey:2")))
    with pytest.raises(NotClean, match="p3 has the node key 'nodekey:1', which p1 had before"):
        pool.joined(cast(TailscaledClient, Returned(name="p3")))


async def test_a_client_is_mended_each_time_that_it_meets_the_fault(tmp_path: Path) -> None:
    """Its log says so; what it said before does not count again."""
    restarted = []

    async def restart() -> None:
        restarted.append(1)

    async def until(*_: Any) -> None:
        return

    client = cast(
        TailscaledClient,
        SimpleNamespace(
            name="p1", release="1.92.5", machine=SimpleNamespace(data=tmp_path), restart=restart, until=until
        ),
    )
    mender = Mender()
    assert not await mender.mend(client)
    log = tmp_path / "tailscaled.log"
    log.write_text(f"started\nwg: {LOST_PEER.logged}\n")
    assert await mender.mend(client)
    assert not await mender.mend(client)
    log.write_text(log.read_text() * 2)
    assert await mender.mend(client)
    assert len(restarted) == len(mender.mended) == 2
