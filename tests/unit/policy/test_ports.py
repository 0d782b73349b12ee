"""Protocols and ports: what is taken, what it means, and what is said of the rest."""

from typing import Final

import pytest

from headscale.policy.ports import (
    ANYTHING,
    PROTOCOLS,
    Traffic,
    check_ports,
    read_ports,
    read_protocol,
    read_traffic,
)
from headscale.tailcfg.filters import ANY_PORT, PortRange

NO_PORTS: Final = " has no ports: use '*' (only tcp, udp and sctp can be limited to ports)"


@pytest.mark.parametrize(
    ("text", "number"),
    [("", None), (" ", None), ("0", 0), ("255", 255), ("TCP", 6), (" udp ", 17), *PROTOCOLS.items()],
)
def test_protocols(text: str, number: int | None) -> None:
    """A protocol is its name in any case or its number; none stands for the default set."""
    assert read_protocol(text) == number


@pytest.mark.parametrize("text", ["256", "-1", "06", "00", "٦", "tcp,udp", "icmpv6", "*", "9" * 5000])
def test_no_protocol(text: str) -> None:
    """Other names, numbers past 255, and numbers that Go would not read are refused."""
    with pytest.raises(ValueError):
        read_protocol(text)


def test_an_unknown_protocol_is_answered_with_the_known() -> None:
    """The complaint lists every name."""
    with pytest.raises(ValueError, match=r"neither a number from 0 to 255 nor one of icmp, igmp, .*, fc$"):
        read_protocol("tpc")


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("*", (ANY_PORT,)),
        ("22", (PortRange(22, 22),)),
        ("1-65535", (PortRange(1, 65535),)),
        ("80-80", (PortRange(80, 80),)),
        (" 80 - 90 , 22 ", (PortRange(80, 90), PortRange(22, 22))),
        ("22,*", (PortRange(22, 22), ANY_PORT)),
    ],
)
def test_ports(text: str, ports: tuple[PortRange, ...]) -> None:
    """A port, a range with both its ends, all, or a list of those, in the order that was written."""
    assert read_ports(text) == ports


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'port range "": invalid first integer'),
        ("22,", 'port range "": invalid first integer'),
        ("ssh", 'port range "ssh": invalid first integer'),
        ("-22", 'port range "-22": invalid first integer'),
        ("22-", 'port range "22-": invalid last integer'),
        ("1-2-3", 'port range "1-2-3": invalid last integer'),
        ("٢٢", 'port range "٢٢": invalid first integer'),
        ("65536", 'port range "65536": invalid first integer'),
        ("1-65536", 'port range "1-65536": invalid last integer'),
        ("0", "port range \"0\": first port must be >0, or use '*' for wildcard"),
        ("0-80", "port range \"0-80\": first port must be >0, or use '*' for wildcard"),
        ("90-80", 'port range "90-80": the last port is below the first'),
    ],
)
def test_no_ports(text: str, message: str) -> None:
    """Ports go from 1 to 65535, and a range upwards."""
    with pytest.raises(ValueError) as caught:
        read_ports(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "traffic"),
    [
        ("*", ANYTHING),
        ("22", Traffic(None, (PortRange(22, 22),))),
        (" tcp:80-90 ", Traffic(6, (PortRange(80, 90),))),
        ("icmp:*", Traffic(1, (ANY_PORT,))),
        ("17:53,54", Traffic(17, (PortRange(53, 53), PortRange(54, 54)))),
    ],
)
def test_traffic(text: str, traffic: Traffic) -> None:
    """An entry of a grant's `ip`: ports alone, or a protocol and its ports."""
    assert read_traffic(text) == traffic


def test_a_protocol_needs_its_ports() -> None:
    """`tcp` alone is no port; all of TCP is `tcp:*`."""
    with pytest.raises(ValueError, match="invalid first integer"):
        read_traffic("tcp")


@pytest.mark.parametrize("protocol", [None, 6, 17, 132])
def test_these_have_ports(protocol: int | None) -> None:
    """TCP, UDP and SCTP, and the default set, may be limited to ports."""
    check_ports(Traffic(protocol, (PortRange(22, 22),)))


@pytest.mark.parametrize("protocol", [0, 1, 47, 58, 255])
def test_no_others_have_ports(protocol: int) -> None:
    """Any other protocol is open or shut as a whole."""
    check_ports(Traffic(protocol, (ANY_PORT,)))
    with pytest.raises(ValueError) as caught:
        check_ports(Traffic(protocol, (ANY_PORT, PortRange(22, 22))))
    assert str(caught.value) == f"protocol {protocol}{NO_PORTS}"
