"""What a failure leaves behind tells what happened, with real clients of each release."""

import json
from pathlib import Path

import pytest

from harness.artifacts import collect
from harness.backends.base import Capability
from harness.clients.base import Ability
from harness.faults import cut
from harness.history import Source
from harness.policies import ALLOW_ALL
from harness.reach import Unreached, assert_reach
from harness.report.failure import Failure, write_failure
from harness.tailnet import Tailnet


async def test_the_folder_of_a_failure_tells_the_whole_story(
    tailnet: Tailnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acts of administrators, map responses with the netmaps that result, notifications, probes, faults, packets."""
    clients = await tailnet.join_each("alice")
    bob, carol = await tailnet.join("bob", name="bob"), await tailnet.join("bob", name="carol")
    await tailnet.set_policy(ALLOW_ALL)
    await tailnet.meshed([*clients, bob, carol])
    faults = tailnet.network.capabilities & {Capability.BLOCK_UDP}
    if faults:
        async with cut(bob):
            pass
    await tailnet.reach([*clients, bob, carol])
    with monkeypatch.context() as hasty:
        hasty.setenv("HARNESS_TIME_SCALE", "0.2")  # what is wrong on purpose need not be waited for
        with pytest.raises(Unreached):
            await assert_reach({(bob, clients[0].tcp()): False, (carol, clients[0].tcp()): True})

    releases = {client.name: str(client.release) for client in tailnet.clients}
    await collect(tmp_path, [tailnet.server, *tailnet.clients], history=tailnet.history, rerun="pytest")
    page = write_failure(tmp_path, Failure("test", "reason", "pytest", releases=releases), tailnet.history)

    told = [json.loads(line) for line in (tmp_path / "timeline.jsonl").read_text().splitlines()]
    assert [each["at"] for each in told] == sorted(each["at"] for each in told)
    expected = set(Source) - (set() if faults else {Source.FAULT})
    assert {each["source"] for each in told} == expected
    assert {"create user", "create key", "set policy"} <= {
        each["event"] for each in told if each["source"] == "admin"
    }
    assert any("node online" in each["event"] for each in told if each["source"] == "server")
    assert "YES, not no" in page.read_text()
    assert not (tmp_path / "missing.txt").exists()
    for client in clients:
        if Capability.OWN_PORTS in tailnet.network.capabilities:
            assert (tmp_path / client.name / "packets.pcap").stat().st_size > 1000
        if Ability.NETMAP in client.abilities:
            await _assert_maps(tailnet, client.name, tmp_path, told)


async def _assert_maps(tailnet: Tailnet, name: str, folder: Path, told: list[dict[str, object]]) -> None:
    """What the responses add up to is what the client holds."""
    responses = [json.loads(line) for line in (folder / name / "maps.jsonl").read_text().splitlines()]
    held = json.loads((folder / name / "netmap.json").read_text())
    last = responses[-1]["netmap"]
    assert {peer["name"] for peer in last["peers"]} == {
        peer["Name"].partition(".")[0] for peer in held["Peers"]
    }
    assert {"full map", "map delta"} == {response["kind"] for response in responses}
    of_client = [each for each in told if each.get("who") == name]
    assert len([each for each in of_client if each["source"] == "map"]) == len(responses)
    assert any(each.get("state") == "Running" for each in of_client)
