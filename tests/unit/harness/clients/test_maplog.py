"""Map responses out of a client's log."""

import json
from pathlib import Path
from typing import Any

from harness.clients.maplog import MapLog, changes, rule_in_words

STREAM = '2026/11/30 10:00:00 MapRequest: {"Version":113,"Stream":true}\n'
ONE_OFF = '2026/11/30 10:00:00 MapRequest: {"Version":113,"Stream":false}\n'
PEER = {"ID": 2, "Name": "b.example.com.", "Addresses": ["100.64.0.2/32"], "Online": True}
FULL: dict[str, Any] = {
    "Node": {"ID": 1, "Name": "a.example.com.", "Addresses": ["100.64.0.1/32"]},
    "Peers": [PEER],
    "PacketFilter": [{"SrcIPs": ["*"], "DstPorts": [{"IP": "*", "Ports": {"First": 0, "Last": 65535}}]}],
}


def block(response: Any) -> str:
    """As Go writes it: the first line after a time, the rest indented by four."""
    return f"2026/11/30 10:00:01 MapResponse: {json.dumps(response, indent=4)}\n"


def test_a_poll_begins_anew_and_changes_are_applied(tmp_path: Path) -> None:
    """What results is what the client holds; lines of others lie between."""
    log = tmp_path / "tailscaled.log"
    log.write_text(
        STREAM + "2026/11/30 10:00:01 other words {\n" + block(FULL) + block({"PeersRemoved": [2]})
    )
    maps = MapLog(log, version=113)
    first, second = maps.take()
    assert (first.kind, first.fields["says"], first.fields["peers"]) == (
        "full map",
        "1 peers, self, packet filter",
        ["b"],
    )
    assert (second.kind, second.fields) == ("map delta", {"says": "1 removed", "peers": [], "rules": 1})
    with log.open("a") as more:
        more.write(ONE_OFF + STREAM + block({"Node": FULL["Node"]}))
    (third,) = maps.take()
    assert (third.kind, third.netmap["rules"]) == ("full map", [])
    assert len(maps.responses) == 3


def test_a_question_on_the_side_is_no_new_poll(tmp_path: Path) -> None:
    """A client that only reports leaves its stream as it is."""
    log = tmp_path / "tailscaled.log"
    log.write_text(STREAM + block(FULL) + ONE_OFF + block({"OnlineChange": {"2": False}}))
    _, second = MapLog(log, version=113).take()
    assert (second.kind, second.fields["peers"]) == ("map delta", ["b (offline)"])


def test_half_a_response_waits_for_its_other_half(tmp_path: Path) -> None:
    """The log is read while it is written, cut at any place."""
    whole = (
        STREAM
        + block(FULL)
        + "2026/11/30 10:00:02 words\n"
        + block({"PeersRemoved": [2]})
        + block({"KeepAlive": True})
    )
    for cut in range(0, len(whole), 7):
        log = tmp_path / f"{cut}.log"
        log.write_text(whole[:cut])
        maps = MapLog(log, version=113)
        maps.take()
        with log.open("a") as rest:
            rest.write(whole[cut:])
        maps.take()
        assert [each.fields["says"] for each in maps.responses] == [
            "1 peers, self, packet filter",
            "1 removed",
        ], cut


def test_a_response_of_a_broken_server_is_shown_all_the_same(tmp_path: Path) -> None:
    """A map that begins without a node is what one looks for."""
    log = tmp_path / "tailscaled.log"
    log.write_text(STREAM + block({"Peers": [PEER]}))
    (only,) = MapLog(log, version=113).take()
    assert only.response == {"Peers": [PEER]}


def test_no_log_yet_is_no_news(tmp_path: Path) -> None:
    """The daemon has not started."""
    assert MapLog(tmp_path / "none.log", version=113).take() == []


def test_rules_and_changes_in_words() -> None:
    """Ports as people write them, capabilities by name."""
    rule = {
        "SrcIPs": ["100.64.0.1"],
        "IPProto": [6],
        "DstPorts": [{"IP": "100.64.0.2", "Ports": {"First": 80, "Last": 80}}],
    }
    assert rule_in_words(rule) == "100.64.0.1 → 100.64.0.2:80 (protocol 6)"
    grant = {"SrcIPs": ["*"], "CapGrant": [{"Dsts": ["*"], "CapMap": {"example.com/cap": []}}]}
    assert rule_in_words(grant) == "* → capability example.com/cap"
    assert changes({"KeepAlive": True}) == "nothing of the netmap"
