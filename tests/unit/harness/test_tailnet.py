"""What a tailnet does when its clients do not reach each other."""

from typing import Any, cast

import pytest

from harness import tailnet as module
from harness.clientfaults import LOST_PEER
from harness.clients.tailscaled import TailscaledClient
from harness.history import History
from harness.reach import Unreached
from harness.tailnet import Tailnet


class Network:
    """One that has no machines."""

    history: History


class Faulty(TailscaledClient):
    """A client whose log says what it is told, and that runs again at once."""

    def __init__(self, data: Any, log: str) -> None:
        self.machine = cast(Any, type("Machine", (), {"name": "c1", "data": data})())
        self.release = cast(Any, "1.92.5")
        self.restarts = 0
        (data / "tailscaled.log").write_text(log)

    async def restart(self) -> None:
        self.restarts += 1

    async def until(self, condition: Any, budget: Any) -> Any:
        return None


@pytest.mark.parametrize(
    ("log", "restarts"), [(f"12:00 {LOST_PEER.logged} nodekey:1\n", 1), ("12:00 all is well\n", 0)]
)
async def test_only_a_known_fault_of_a_client_is_mended(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, log: str, restarts: int
) -> None:
    """And what is not reached afterwards is not reached."""
    asked: list[Any] = []

    async def nobody_reaches(pairs: Any, *, budget: Any) -> None:
        asked.append(pairs)
        raise Unreached("1 of 1 pairs is not as expected")

    monkeypatch.setattr(module, "assert_reach", nobody_reaches)
    monkeypatch.setattr(module, "all_pairs", lambda clients, versions: [])
    tailnet = Tailnet(cast(Any, None), cast(Any, Network()), [], History())
    client = Faulty(tmp_path, log)
    with pytest.raises(Unreached):
        await tailnet.reach([client])
    assert (client.restarts, len(asked)) == (restarts, 1 + restarts)
    assert ("client mended" in [entry.event for entry in tailnet.history.entries]) is bool(restarts)
