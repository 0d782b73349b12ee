"""A client's packet filter: its verdicts, and whether they are the policy's."""

import json
from ipaddress import ip_address
from typing import Any, cast

import pytest

from harness.expected import World, look
from harness.filters import goes_by, lets_in, sample, shown
from harness.oracle import TCP, UDP, Packet
from harness.policies import NOBODY, acl, policy
from harness.servers.base import ControlServer
from tests.unit.harness.members import Listing, node

A, B = ip_address("100.64.0.1"), ip_address("100.64.0.2")


def match(*protos: int, first: int = 0, last: int = 65535, src: str = "100.64.0.1/32") -> dict[str, Any]:
    """A rule as 1.80.3 to 1.102.4 print it, to 100.64.0.2."""
    to = {"Net": "100.64.0.2/32", "Ports": {"First": first, "Last": last}}
    return {"IPProto": list(protos), "Srcs": [src], "SrcCaps": None, "Dsts": [to], "Caps": []}


@pytest.mark.parametrize(
    ("rule", "packet", "verdict"),
    [
        (match(TCP, first=80, last=90), Packet(A, B, TCP, 80), True),
        (match(TCP, first=80, last=90), Packet(A, B, TCP, 90), True),
        (match(TCP, first=80, last=90), Packet(A, B, TCP, 79), False),
        (match(TCP, first=80, last=90), Packet(A, B, TCP, 91), False),
        (match(TCP), Packet(A, B, UDP, 80), False),
        (match(TCP, first=80, last=80), Packet(A, B, 1), True),
        (match(47), Packet(A, B, 47), True),
        (match(47, first=80, last=80), Packet(A, B, 47), False),
        (match(TCP), Packet(B, B, TCP, 80), False),
        (match(TCP), Packet(A, A, TCP, 80), False),
        (match(TCP, src="100.64.0.0/10"), Packet(A, B, TCP, 80), True),
    ],
)
def test_a_rule_lets_in_what_a_client_would(rule: dict[str, Any], packet: Packet, *, verdict: bool) -> None:
    """Ports have two ends, ICMP needs addresses alone, other protocols need every port."""
    assert lets_in([rule], packet) is verdict


def test_no_rules_let_nothing_in() -> None:
    """The filter is a list of permissions."""
    assert not lets_in([], Packet(A, B, TCP, 80))


async def world() -> World:
    return await look(cast(ControlServer, Listing(node(1, "a", "1"), node(2, "b", "2"))))


async def test_a_filter_is_compared_by_its_verdicts() -> None:
    """The text does not matter: two rules may stand for one."""
    here = await world()
    rules = json.loads(policy(acl("alice@", "100.64.0.2:80-81", proto="tcp")))
    condition = goes_by(rules, here, here.nodes[1])
    assert condition.why_not({"PacketFilter": [match(TCP, first=80, last=81)]}) is None
    two = [match(TCP, first=80, last=80), match(TCP, first=81, last=81)]
    assert condition.why_not({"PacketFilter": two}) is None


@pytest.mark.parametrize("last", [80, 82])
async def test_one_port_too_few_or_too_many_is_noticed(last: int) -> None:
    """The limits of every range are tried from both sides; the reason has the verdict and the whole filter."""
    here = await world()
    rules = json.loads(policy(acl("alice@", "100.64.0.2:80-81", proto="tcp")))
    reason = goes_by(rules, here, here.nodes[1]).why_not({"PacketFilter": [match(TCP, first=80, last=last)]})
    assert reason is not None
    assert f"its filter is [6] 100.64.0.1/32 → 100.64.0.2/32:80-{last}" in reason
    assert ("keeps" if last == 80 else "lets") in reason


async def test_a_filter_that_should_be_empty_is_noticed() -> None:
    """Also by a policy that names no port: pings are always tried."""
    here = await world()
    condition = goes_by(json.loads(NOBODY), here, here.nodes[1])
    assert condition.why_not({"PacketFilter": None}) is None
    assert condition.why_not({"PacketFilter": [match(TCP)]}) is not None


async def test_subnets_are_tried_too() -> None:
    """A router's filter also guards what is behind it."""
    listed = node(2, "b", "2", routes=("10.0.0.0/8",))
    here = await look(cast(ControlServer, Listing(node(1, "a", "1"), listed)))
    packets = sample(json.loads(policy(acl("alice@", "10.0.0.0/8:80"))), here, here.nodes[1])
    assert ip_address("10.0.0.0") in {packet.dst for packet in packets}


def test_an_empty_filter_is_called_so() -> None:
    """A message that ends in nothing would look cut."""
    assert shown([]) == "empty"
