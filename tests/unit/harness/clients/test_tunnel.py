"""What an agent's answer proves."""

from typing import Any

import pytest

from harness.clients.tailscaled import _masked
from harness.clients.tunnel import is_address, judge, outside_netmap
from harness.errors import Unsupported
from harness.reach import Target
from harness.status import parse_status

TCP = Target("b", "tcp", "100.64.0.2", 80)
OWN = {"100.64.0.1", "fd7a::1"}


def answered(**fields: Any) -> dict[str, Any]:
    answer = {"name": "b", "instance": "x", "nonce": "n", "source": "100.64.0.1:4000"} | fields
    return {"reached": True, "elapsed_ms": 2.5, "answer": answer}


STATUS = parse_status(
    {
        "Self": {"DNSName": "a.t.", "TailscaleIPs": ["100.64.0.1"]},
        "Peer": {"k": {"DNSName": "b.t.", "TailscaleIPs": ["100.64.0.2"]}},
    }
)


def test_the_right_one_who_saw_us_is_reached() -> None:
    """Name and source agree."""
    probe = judge(answered(), TCP, own=OWN)
    assert (probe.reached, probe.seconds, probe.source) == (True, 0.0025, "100.64.0.1")


def test_an_ipv6_source_loses_its_brackets() -> None:
    """The agent prints addresses with ports as Go does."""
    assert judge(answered(source="[fd7a::1]:4000"), TCP, own=OWN).reached


def test_another_name_is_not_reached() -> None:
    """Somebody listens at that address, but not the one we meant."""
    probe = judge(answered(name="mallory"), TCP, own=OWN)
    assert (probe.answered, probe.reached) == (True, False)
    assert probe.reason == "mallory answered instead of b"


def test_another_source_did_not_come_through_the_tunnel() -> None:
    """A bridge address as the source means that the packets went around the tunnel."""
    assert not judge(answered(source="172.18.0.3:4000"), TCP, own=OWN).reached


def test_behind_loopback_tailscaled_says_who_it_was() -> None:
    """In userspace mode the source is loopback and the peer list decides."""
    assert judge(answered(source="127.0.0.1:4000", peer=["100.64.0.1", "fd7a::1"]), TCP, own=OWN).reached
    assert not judge(answered(source="127.0.0.1:4000", peer=["100.64.0.9"]), TCP, own=OWN).reached
    assert not judge(answered(source="127.0.0.1:4000"), TCP, own=OWN).reached


def test_no_answer_carries_its_kind() -> None:
    """Refused and timed out are different findings."""
    seen = {"reached": False, "elapsed_ms": 1000.0, "kind": "refused", "error": "connection refused"}
    probe = judge(seen, TCP, own=OWN)
    assert (probe.answered, probe.reason) == (False, "refused: connection refused")


def test_a_wrong_answer_is_an_answer() -> None:
    """So that it never proves a denial."""
    seen = {"reached": False, "elapsed_ms": 1.0, "kind": "wrong", "error": "another question"}
    probe = judge(seen, TCP, own=OWN)
    assert (probe.answered, probe.reached) == (True, False)


@pytest.mark.parametrize("where", ["100.64.0.9", "c", "c.t"])
def test_what_no_peer_has_is_not_probed(where: str) -> None:
    """tailscaled would dial it through the host."""
    refusal = outside_netmap(STATUS, where)
    assert refusal is not None
    assert not refusal.answered


@pytest.mark.parametrize("where", ["100.64.0.2", "b", "b.t"])
def test_what_a_peer_has_is_probed(where: str) -> None:
    """By address and by name."""
    assert outside_netmap(STATUS, where) is None


def test_a_client_cannot_probe_itself_in_userspace() -> None:
    """That is said, not answered with no."""
    with pytest.raises(Unsupported):
        outside_netmap(STATUS, "100.64.0.1")


def test_addresses_are_told_from_names() -> None:
    """A name of digits and dots that is no address is a name."""
    assert [is_address(t) for t in ("100.64.0.1", "fd7a::1", "b.tail.test", "1.2.3.4.5")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("option", ["--auth-key", "--authkey"])
def test_a_key_never_shows_in_a_command(option: str) -> None:
    """Reports and histories are kept and sent around."""
    assert _masked(f"{option}=hskey-auth-secret") == f"{option}=…"
    assert _masked("--hostname=a") == "--hostname=a"
