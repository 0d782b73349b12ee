"""Clients and a server's list that tests of predictions share."""

from ipaddress import ip_address
from typing import Any, Literal, cast

from harness.clients.base import Ability, By, Client
from harness.reach import Target
from harness.servers.base import ServerNode, ServerUser
from harness.status import Status, parse_status

USERS = [ServerUser("1", "alice", "", ""), ServerUser("2", "bob", "", "")]


class Member:
    """A client as predictions see it: a name, addresses, abilities, and what it shows of its netmap."""

    def __init__(self, number: int, name: str, *, lacks: frozenset[Ability] = frozenset()) -> None:
        self.name = name
        self.abilities = frozenset(Ability) - lacks
        self.filter: list[dict[str, Any]] = []
        self.status: Status = parse_status(
            {
                "BackendState": "Running",
                "Self": {
                    "DNSName": f"{name}.t.",
                    "TailscaleIPs": [f"100.64.0.{number}", f"fd7a:115c:a1e0::{number}"],
                },
            }
        )

    async def read(self) -> Status:
        return self.status

    async def netmap(self) -> dict[str, Any]:
        return {"PacketFilter": self.filter}

    async def changed(self, within: float) -> None:
        pass

    async def until(self, condition: Any, budget: Any) -> Status:
        from harness.wait import until

        return await until(cast(Any, self), condition, budget)

    def address(self, version: Literal[4, 6] = 4) -> Any:
        return next(address for address in self.status.addresses if address.version == version)

    def tcp(self, port: int, *, by: By = "ipv4") -> Target:
        return Target(self.name, "tcp", str(self.address(4 if by == "ipv4" else 6)), port)

    def udp(self, port: int, *, by: By = "ipv4") -> Target:
        return Target(self.name, "udp", str(self.address(4 if by == "ipv4" else 6)), port)

    def icmp(self, *, by: By = "ipv4") -> Target:
        return Target(self.name, "icmp", str(self.address(4 if by == "ipv4" else 6)))

    async def listen(self, port: int) -> None:
        pass


def client(number: int, name: str, *lacks: Ability) -> Client:
    """A client with every ability but these; its addresses end in its number."""
    return cast(Client, Member(number, name, lacks=frozenset(lacks)))


def node(number: int, name: str, user_id: str, *tags: str, routes: tuple[str, ...] = ()) -> ServerNode:
    """The node of the client of that number."""
    return ServerNode(
        id=str(number),
        given_name=name,
        hostname=name,
        user="",
        user_id=user_id,
        addresses=(str(ip_address(f"100.64.0.{number}")), str(ip_address(f"fd7a:115c:a1e0::{number}"))),
        online=True,
        node_key="",
        tags=tags,
        routes=routes,
    )


class Listing:
    """A server that lists these nodes."""

    def __init__(self, *nodes: ServerNode) -> None:
        self._nodes = list(nodes)

    async def users(self) -> list[ServerUser]:
        return USERS

    async def nodes(self) -> list[ServerNode]:
        return self._nodes
