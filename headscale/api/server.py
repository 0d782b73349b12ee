"""Where the API is served: on a Unix socket, where the file's mode is the login, and below /api of the main listener,
where an API key is."""

import os
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from aiohttp import web

from headscale.api.acts import Acts, is_local
from headscale.api.door import KeyDoor
from headscale.api.parts import ApiParts
from headscale.api.problems import problems
from headscale.api.v1.access import guarded
from headscale.api.v1.apikeys import ApiKeys
from headscale.api.v1.audit import AuditLog
from headscale.api.v1.auth import Logins
from headscale.api.v1.body import answer
from headscale.api.v1.debug import Debug
from headscale.api.v1.description import DESCRIPTION as V1
from headscale.api.v1.nodes import Nodes
from headscale.api.v1.pings import Pings
from headscale.api.v1.policy import Policies
from headscale.api.v1.preauthkeys import PreAuthKeys
from headscale.api.v1.preferences import PreferencesApi
from headscale.api.v1.presence import Looks
from headscale.api.v1.users import Users
from headscale.api.v2.description import DESCRIPTION as V2
from headscale.api.v2.table import ENDPOINTS
from headscale.errors import Unavailable

BODY_MAX_BYTES: Final = 1024 * 1024
PREFIX: Final = "/api"
# What a kernel allows for the path of a Unix socket, its final zero byte included.
SOCKET_PATH_MAX: Final = 108


async def serve_api(stack: AsyncExitStack, parts: ApiParts, *, path: Path, mode: int) -> None:
    """Serve the API on this socket until the stack unwinds; a stale socket file is replaced.

    The caller holds the database's lock, so that a socket that is there belongs to nobody.
    """
    runner = web.AppRunner(socket_app(parts), access_log=None, shutdown_timeout=1.0, auto_decompress=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, _bind(path, mode)).start()
    stack.callback(path.unlink, missing_ok=True)


def socket_app(parts: ApiParts) -> web.Application:
    """The API as an application of its own, without a login."""
    app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[problems, is_local])
    app.add_routes(api_routes(parts))
    return app


def mount_api(app: web.Application, parts: ApiParts) -> KeyDoor:
    """Serve the API below /api of this application, to those who have a key."""
    door = KeyDoor(parts.writer, parts.imported, parts.clock, body_max_bytes=BODY_MAX_BYTES)
    api = web.Application(middlewares=[problems, door.admit])
    api.add_routes(
        web.RouteDef(route.method, route.path.removeprefix(PREFIX), route.handler, route.kwargs)
        for route in api_routes(parts)
    )
    app.add_subapp(PREFIX, api)
    return door


def api_routes(parts: ApiParts) -> list[web.RouteDef]:
    """Every route, with its whole path."""
    writer = parts.writer
    acts = Acts(writer)

    async def health(request: web.Request) -> web.Response:
        await parts.ping()
        trouble = writer.snapshot.policy_problem
        return answer({"databaseConnectivity": True} | ({"policyProblem": trouble} if trouble else {}))

    first = [
        web.get("/api/v1/health", health),
        *Users(acts).routes(),
        *PreAuthKeys(acts, parts.clock).routes(),
        *ApiKeys(acts, parts.clock).routes(),
        *Nodes(acts, parts.clock).routes(),
        *Pings(writer, parts.questions, parts.clock).routes(),
        *Policies(acts, parts.policy, parts.kept_policy).routes(),
        *Logins(acts, parts.logins, parts.checks).routes(),
        *Debug(writer, parts.logins, parts.clock).routes(),
        *PreferencesApi(acts).routes(),
        *Looks(parts.vitals).routes(),
        *AuditLog(parts.audit_events).routes(),
    ]
    return [
        *(guarded(route, acts) for route in first),
        *V1.routes(),
        *(endpoint.route(parts, acts) for endpoint in ENDPOINTS),
        *V2.routes(),
    ]


def _bind(path: Path, mode: int) -> socket.socket:
    """A listening socket that never had a wider mode than this."""
    if len(os.fsencode(path)) >= SOCKET_PATH_MAX:
        raise Unavailable(
            f"unix_socket: {path} is longer than the {SOCKET_PATH_MAX - 1} bytes that a socket may have"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o777 & ~mode)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(mode)
    except OSError as problem:
        listener.close()
        raise Unavailable(f"unix_socket: cannot make {path}: {problem.strerror}") from problem
    finally:
        os.umask(mask)
    return listener
