"""What the oracle is told: users, nodes and packets, and the address ranges that policies have words for."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ICMPV6: Final = 58
TSMP: Final = 99
SCTP: Final = 132

# What `*` is as a source, besides approved subnet routes: recordings, every case with that source.
TAILNET: Final[tuple[Prefix, ...]] = (
    *IPv4Network("100.64.0.0/10").address_exclude(IPv4Network("100.115.92.0/23")),
    IPv6Network("fd7a:115c:a1e0::/48"),
)
# What `autogroup:internet` is: recording routes-b17-autogroup-internet-with-exit-autoapprover.
NOT_INTERNET_V4: Final = tuple(
    IPv4Network(text)
    for text in ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
)
INTERNET_V6: Final = IPv6Network("2000::/3")


@dataclass(frozen=True, slots=True)
class OracleUser:
    """An account. Policies name it by login name, e-mail address or identity at the provider."""

    id: int
    name: str
    email: str
    provider_id: str = ""


@dataclass(frozen=True, slots=True)
class OracleNode:
    """A device: of a user, or with tags and of nobody. `approved` are the routes in force, exit routes included."""

    id: int
    name: str
    user_id: int | None
    tags: tuple[str, ...]
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    approved: tuple[Prefix, ...] = ()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Its own addresses, of one family or both."""
        return tuple(address for address in (self.ipv4, self.ipv6) if address is not None)

    @property
    def subnets(self) -> tuple[Prefix, ...]:
        """Approved routes that are not exit routes."""
        return tuple(route for route in self.approved if route.prefixlen > 0)

    @property
    def places(self) -> tuple[Prefix, ...]:
        """What it may send from and be sent for, but for the internet: its addresses and its subnets."""
        return (*(single(address) for address in self.addresses), *self.subnets)

    @property
    def is_exit_node(self) -> bool:
        """Whether an exit route is approved; one family's approval is the other's too."""
        return len(self.subnets) < len(self.approved)


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow. `port` is the destination's, 0 for protocols that have none."""

    src: Address
    dst: Address
    proto: int
    port: int = 0


def single(address: Address) -> Prefix:
    """The prefix that holds just this address."""
    return (
        IPv4Network((int(address), 32))
        if isinstance(address, IPv4Address)
        else IPv6Network((int(address), 128))
    )


def on_internet(place: Prefix) -> bool:
    """Whether every address of the place is on the internet as policies mean it."""
    if isinstance(place, IPv6Network):
        return place.subnet_of(INTERNET_V6)
    return not any(place.overlaps(local) for local in NOT_INTERNET_V4)


def delivered(receiver: OracleNode, dst: Address) -> bool:
    """Whether peers send packets for this address to the receiver: its own, a subnet's, or an exit node's.

    The client itself compares with the routes that it advertises, approved or not; peers send nothing for
    routes that are not approved. Source: tailscale v1.102.4, ipn/ipnlocal/local.go, updateFilterLocked.
    """
    if dst in receiver.addresses or any(dst in route for route in receiver.subnets):
        return True
    return receiver.is_exit_node and on_internet(single(dst))
