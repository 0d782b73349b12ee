"""Recordings of the control proxy: what is kept, what is masked, and what a broken file says."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.proxy.messages import MAP, REGISTER, Message, To, masked
from harness.proxy.recording import RecordingBroken, lines, polls, read_recording, registration

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def message(number: int, to: To, kind: str, body: Any, *, exchange: int = 1) -> Message:
    return Message(number, number / 10, NOW, "one", "mkey:1", to, kind, exchange, body)


def test_what_lets_devices_in_is_masked() -> None:
    asked = {"Auth": {"AuthKey": "hskey-auth-secret"}, "NodeKey": "nodekey:1", "More": [{"AuthKey": "x"}, 2]}
    assert masked(asked) == {"Auth": {"AuthKey": "…"}, "NodeKey": "nodekey:1", "More": [{"AuthKey": "…"}, 2]}


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    """Bodies that are no JSON by their length alone."""
    written = [
        message(1, To.SERVER, REGISTER, {"NodeKey": "nodekey:1"}),
        message(2, To.CLIENT, REGISTER, {"MachineAuthorized": True}),
        message(3, To.SERVER, "c2n", b"HTTP/1.1 200 OK"),
    ]
    file = tmp_path / "control.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines(written)))
    found = read_recording(file)
    assert found[:2] == written[:2]
    assert found[2].body == bytes(15)
    assert registration(found, client="one") == written[1]
    assert registration(found, client="two") is None


@pytest.mark.parametrize("line", ["{", "[]", "{}", json.dumps({"to": "client"})])
def test_a_broken_file_names_the_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "control.jsonl"
    good = next(lines([message(1, To.SERVER, REGISTER, {})]))
    file.write_text(f"{good}\n{line}\n")
    with pytest.raises(RecordingBroken, match="line 2"):
        read_recording(file)


def test_each_step_of_a_poll_keeps_its_own_netmap() -> None:
    """A peer that comes and goes is in the netmap between."""
    told = [
        {"Node": {"ID": 1}, "Peers": []},
        {"PeersChanged": [{"ID": 2, "Name": "two."}]},
        {"PeersRemoved": [2]},
    ]
    messages = [message(1, To.SERVER, MAP, {"Stream": True, "Version": 142})]
    messages += [message(number, To.CLIENT, MAP, body) for number, body in enumerate(told, 2)]
    messages.append(message(9, To.CLIENT, MAP, {"Node": {"ID": 7}}, exchange=2))
    (poll,) = polls(messages)
    assert poll.version == 142
    assert [sorted(step.netmap.peers) for step in poll.steps()] == [[], [2], []]


def test_a_poll_that_begins_without_a_node_ends_there() -> None:
    """As a client would end it."""
    messages = [
        message(1, To.SERVER, MAP, {"Stream": True, "Version": 142}),
        message(2, To.CLIENT, MAP, {"PeersRemoved": [2]}),
        message(3, To.CLIENT, MAP, {"Node": {"ID": 1}}),
    ]
    (step,) = polls(messages)[0].steps()
    assert "lacked a node" in step.trouble
