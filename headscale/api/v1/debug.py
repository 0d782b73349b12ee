"""/api/v1/debug: a login that no device asked for, to try out what follows."""

import msgspec
from aiohttp import web
from msgspec import structs

from headscale.api.v1.body import answer, read_body
from headscale.api.v1.objects import UNSPECIFIED, node_object
from headscale.clock import Clock
from headscale.keys import ZERO_DISCO_KEY, generate_private_key, machine_key, node_key
from headscale.login.pending import PendingLogins
from headscale.records import Node
from headscale.state.admission import Request
from headscale.state.approvals import check_routes
from headscale.state.users import user_named
from headscale.state.writer import Writer
from headscale.tailcfg.hostinfo import Hostinfo

# As the peer's: who looks at the node sees that it is no device.
OS = "TestOS"
SOURCE = "debug"


class MadeUpNode(msgspec.Struct, frozen=True):
    """The body: for which user, under which login id, and what the device says of itself."""

    user: str = ""
    key: str = ""
    name: str = ""
    routes: tuple[str, ...] = ()


class Debug:
    """Make up a login that waits; `auth register` lets it in."""

    def __init__(self, writer: Writer, logins: PendingLogins, clock: Clock) -> None:
        self._writer = writer
        self._logins = logins
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [web.post("/api/v1/debug/node", self.create)]

    async def create(self, request: web.Request) -> web.Response:
        """A login with this id and keys that nobody has. The node in the answer has the id 0: it is not one yet."""
        asked = await read_body(request, MadeUpNode)
        self._logins.check_free(asked.key)
        user = user_named(self._writer.snapshot, asked.user)
        hostinfo = Hostinfo(hostname=asked.name, os=OS, routable_ips=check_routes(asked.routes))
        wanted = Request(
            machine_key=machine_key(generate_private_key().public),
            node_key=node_key(generate_private_key().public),
            hostinfo=hostinfo,
        )
        self._logins.open(wanted, SOURCE, login_id=asked.key)
        node = Node(
            id=0,
            machine_key=wanted.machine_key,
            node_key=wanted.node_key,
            disco_key=ZERO_DISCO_KEY,
            hostname=asked.name,
            given_name="",
            ipv4=None,
            ipv6=None,
            user_id=user.id,
            hostinfo=hostinfo,
            created_at=self._clock.now(),
        )
        shown = node_object(self._writer.snapshot, node)
        return answer({"node": structs.replace(shown, register_method=UNSPECIFIED)})
