"""What a scenario may ask of a control server, whoever wrote it."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from harness.errors import HarnessError, NotOffered
from harness.wait import Condition


class AdminRefused(HarnessError):
    """The server refused an administrator's wish; the text is the server's own, `status` that of HTTP if it has one."""

    def __init__(self, text: str, *, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class ServerAbility(StrEnum):
    """What not every server can do. `ControlServer.abilities` has those that this one can."""

    POLICY = "policy"
    """Its policy can be set while it runs."""
    APPROVAL = "approval"
    """It can make new devices wait for approval."""
    PING = "ping"
    """It can ask a client whether it answers."""
    OAUTH = "oauth"
    """It has OAuth clients, whose secrets devices trade for keys by themselves."""
    USERS = "users"
    """It makes users, as many as are wanted."""
    LOGINS = "logins"
    """An administrator lets a device in, or an SSH session, that waits with a login, or turns it away."""
    END_OF_KEYS = "end-of-keys"
    """A pre-auth key can be ended and not be forgotten, and a node's key can end at a chosen time."""
    PRIMARIES = "primaries"
    """It tells which router of several serves a route now."""
    CONFIGURATION = "configuration"
    """It starts with the configuration, the files and the times that a scenario wants."""
    RESTART = "restart"
    """It can be stopped, killed and started again with its data."""


@dataclass(frozen=True, slots=True)
class AuthKey:
    """A pre-auth key with its secret."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class ServerUser:
    """A user as the server lists them; what they lack is empty."""

    id: str
    name: str
    email: str
    provider_id: str


@dataclass(frozen=True, slots=True)
class ServerNode:
    """A node as the server lists it."""

    id: str
    given_name: str
    hostname: str
    user: str
    user_id: str
    """Who owns it, or whoever the server names as the owner of tagged nodes."""
    addresses: tuple[str, ...]
    online: bool
    node_key: str
    tags: tuple[str, ...]
    routes: tuple[str, ...]
    """Those that are advertised and approved, exit routes included."""
    served: tuple[str, ...] | None = ()
    """As `serving`; None where the server does not tell."""

    @property
    def serving(self) -> tuple[str, ...]:
        """Routes that go through this node now; exit routes do through any that has them. ServerAbility.PRIMARIES."""
        if self.served is None:
            raise NotOffered("the server does not tell which router serves a route")
        return self.served


class Admin(Protocol):
    """What an administrator does, by whichever door the server has for them."""

    async def create_user(self, name: str) -> str:
        """A new user; returns its id."""

    async def users(self) -> list[ServerUser]:
        """All users."""

    async def create_key(
        self,
        user_id: str,
        *,
        reusable: bool,
        ephemeral: bool,
        lifetime: timedelta,
        tags: Sequence[str],
    ) -> AuthKey:
        """A new pre-auth key."""

    async def create_oauth_client(self, *, scopes: Sequence[str], tags: Sequence[str]) -> AuthKey:
        """A new OAuth client; its secret is the text. ServerAbility.OAUTH."""

    async def expire_key(self, key_id: str) -> None:
        """The key stops working."""

    async def delete_key(self, key_id: str) -> None:
        """The key is forgotten; its nodes stay."""

    async def nodes(self) -> list[ServerNode]:
        """All nodes, by id."""

    async def rename_node(self, node_id: str, name: str) -> None:
        """Another given name."""

    async def delete_node(self, node_id: str) -> None:
        """Gone for everyone."""

    async def expire_node(self, node_id: str, *, at: datetime | None = None) -> None:
        """The node's key ends now, or at that time."""

    async def never_expire_node(self, node_id: str) -> None:
        """The node's key does not end."""

    async def set_tags(self, node_id: str, tags: Sequence[str]) -> None:
        """The node has these tags and no owner. Raises AdminRefused with why not."""

    async def approve_routes(self, node_id: str, routes: Sequence[str]) -> None:
        """These routes of the node are approved, and no others."""

    async def let_in(self, login_id: str, user_name: str) -> None:
        """The device that waits with this login is in, as the user's. Raises AdminRefused with why not."""

    async def turn_away(self, login_id: str) -> None:
        """The device, or SSH session, that waits with this login is not let in."""

    async def confirm_session(self, check_id: str) -> None:
        """The SSH session that waits under this id goes on."""

    async def set_device_approval(self, *, on: bool) -> None:
        """Whether new devices wait until an administrator lets them in. ServerAbility.APPROVAL."""

    async def authorize_node(self, node_id: str) -> None:
        """A device that waits is in. ServerAbility.APPROVAL."""

    async def ping_node(self, node_id: str) -> bool:
        """Whether the node's client answers a question over its tunnel. ServerAbility.PING."""

    async def set_policy(self, text: str) -> None:
        """Put a policy in force. Raises AdminRefused with all that is wrong with it. ServerAbility.POLICY."""


class ControlServer(Admin, Protocol):
    """A control server of this run. `url` is what clients log in to; it stays through restarts."""

    @property
    def name(self) -> str:
        """Its kind, for reports and folders."""

    @property
    def abilities(self) -> frozenset[ServerAbility]:
        """What it can do beyond users, keys and nodes."""

    @property
    def folder(self) -> Path:
        """Where its configuration and the files beside it lie, on the host. There once it was started."""

    @property
    def url(self) -> str:
        """The login server."""

    @property
    def authority(self) -> bytes | None:
        """The certificate authority that clients must trust, PEM; None when the server has no TLS."""

    async def start(self) -> None:
        """Start it with the data it has, if any; returns when it answers."""

    async def stop(self) -> None:
        """End it in good order; the data stays."""

    async def kill(self) -> None:
        """End it at once; the data stays as it happens to be. Raises Unsupported where that is impossible."""

    async def close(self) -> None:
        """End it and remove its data."""

    def evidence(self) -> AsyncIterator[tuple[str, bytes | Path]]:
        """Log, database and node list, for the folder of a failed test."""


def not_offered(server: str, ability: ServerAbility, *, what: str = "") -> NotOffered:
    """To be raised when a scenario asks a server for an ability that it does not have."""
    return NotOffered(f"the {server} server lacks {ability}{f': {what}' if what else ''}")


def identity(nodes: Sequence[ServerNode]) -> list[tuple[str, tuple[str, ...], str]]:
    """What must not change when machines come back: numbers, addresses and names."""
    return [(node.id, node.addresses, node.given_name) for node in nodes]


def only_these(names: Collection[str]) -> Condition[list[ServerNode]]:
    """The server lists these nodes and no others."""
    wanted = sorted(names)

    def why_not(nodes: list[ServerNode]) -> str | None:
        listed = sorted(node.given_name for node in nodes)
        return None if listed == wanted else f"it lists {listed}"

    return Condition(f"lists only {wanted}", why_not)


def all_online(count: int) -> Condition[list[ServerNode]]:
    """The server lists so many nodes, and all of them are online."""

    def why_not(nodes: list[ServerNode]) -> str | None:
        offline = sorted(node.given_name for node in nodes if not node.online)
        if offline:
            return f"offline are {offline}"
        return None if len(nodes) == count else f"it lists {len(nodes)} nodes"

    return Condition(f"lists {count} nodes, all online", why_not)


def node_from_v1(node: dict[str, Any]) -> ServerNode:
    """REST v1's node, which is also the CLI's with `-o json`."""
    approved = set(node.get("approvedRoutes") or ())
    return ServerNode(
        id=str(node["id"]),
        given_name=node["givenName"],
        hostname=node["name"],
        user=(node.get("user") or {}).get("name", ""),
        user_id=str((node.get("user") or {}).get("id", "")),
        addresses=tuple(node["ipAddresses"]),
        online=bool(node["online"]),
        node_key=node["nodeKey"],
        tags=tuple(node.get("tags") or ()),
        routes=tuple(route for route in node.get("availableRoutes") or () if route in approved),
        served=tuple(node.get("subnetRoutes") or ()),
    )


def user_from_v1(user: dict[str, Any]) -> ServerUser:
    """REST v1's user, which is also the CLI's with `-o json`."""
    return ServerUser(
        id=str(user["id"]),
        name=user.get("name") or "",
        email=user.get("email") or "",
        provider_id=user.get("providerId") or "",
    )
