"""Ports that stay free until their server comes."""

import socket

import pytest

from harness import ports
from harness.errors import HarnessError
from harness.ports import LOWEST, free_port, own_share


@pytest.mark.parametrize("udp", [False, True])
def test_a_port_can_be_bound_and_is_no_outgoing_connections(udp: bool) -> None:
    port = free_port("127.0.0.1", udp=udp)
    assert LOWEST <= port < int(ports.EPHEMERAL.read_text().split()[0])
    with socket.socket(type=socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", port))


def test_a_server_that_draws_two_has_two() -> None:
    """Of 600 drawn with repetition from 22,000, two would be the same in almost every run."""
    drawn = [free_port("127.0.0.1", udp=udp) for udp in (False, True) * 300]
    assert len(set(drawn)) == len(drawn)


def test_an_address_that_is_not_ours_has_no_port() -> None:
    with pytest.raises(HarnessError, match="none was free"):
        free_port("192.0.2.99")


def test_processes_beside_each_other_draw_from_ranges_of_their_own() -> None:
    """Without pytest-xdist there is one, which has them all."""
    everything = range(1000, 4000)
    shares = [
        own_share(everything, {"PYTEST_XDIST_WORKER": f"gw{number}", "PYTEST_XDIST_WORKER_COUNT": "3"})
        for number in range(3)
    ]
    assert own_share(everything, {}) == everything
    assert sorted(port for share in shares for port in share) == list(everything)
