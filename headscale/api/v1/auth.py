"""/api/v1/auth: an administrator decides about a login that waits."""

import asyncio
from functools import partial

import msgspec
from aiohttp import web

from headscale.api.acts import Acts
from headscale.api.v1.body import answer, read_body
from headscale.api.v1.objects import node_object
from headscale.errors import Malformed, NotFound
from headscale.login.checks import Check, PendingChecks
from headscale.login.device import session_text
from headscale.login.pending import PendingLogin, PendingLogins
from headscale.mapper.render import plain
from headscale.records import Node, RegisterMethod, User
from headscale.state.admission import Registered
from headscale.state.login import log_in
from headscale.state.users import user_named

REJECTED = "an administrator turned this login away"
SESSION_REJECTED = "an administrator turned this session away"


class Registration(msgspec.Struct, frozen=True, rename="camel"):
    """The body that lets a device in: whose it becomes, and which login."""

    user: str = ""
    auth_id: str = ""


class LoginId(msgspec.Struct, frozen=True, rename="camel"):
    """The body that names a login."""

    auth_id: str = ""


class Logins:
    """Register, approve, reject."""

    def __init__(self, acts: Acts, logins: PendingLogins, checks: PendingChecks) -> None:
        self._acts = acts
        self._logins = logins
        self._checks = checks

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [
            web.post("/api/v1/auth/register", self.register),
            web.post("/api/v1/auth/approve", self.approve),
            web.post("/api/v1/auth/reject", self.reject),
            web.post("/api/v1/node/register", self.register_by_query),
        ]

    async def register(self, request: web.Request) -> web.Response:
        """The device is in, as this user's or with the tags that it asked for; its client learns it at once."""
        asked = await read_body(request, Registration)
        return await self._register(request, asked.user, asked.auth_id)

    async def register_by_query(self, request: web.Request) -> web.Response:
        """As `register`, the way it was before 0.30: ?user=name&key=id."""
        return await self._register(request, request.query.get("user", ""), request.query.get("key", ""))

    async def approve(self, request: web.Request) -> web.Response:
        """Say yes to an SSH session. (The peer says yes to registrations as well, and registers nothing.)"""
        asked = (await read_body(request, LoginId)).auth_id
        if (check := self._check(asked)) is not None:
            await self._acts.note(request, "ssh.approve", session_text(self._acts.snapshot, check.session))
            self._checks.approve(check)
            return answer({})
        login = self._logins.find(asked)
        raise Malformed(
            f"this login registers a device ({login.request.hostinfo.hostname[:80]}), so it needs an owner: "
            "use auth register with a user"
        )

    async def reject(self, request: web.Request) -> web.Response:
        """Turn a login or an SSH session away; its user reads so."""
        asked = (await read_body(request, LoginId)).auth_id
        if (check := self._check(asked)) is not None:
            self._checks.reject(check, SESSION_REJECTED)
            await self._acts.note(request, "ssh.reject", session_text(self._acts.snapshot, check.session))
            return answer({})
        login = self._logins.find(asked)
        self._logins.reject(login, REJECTED)
        await self._acts.note(
            request, "login.reject", f"device {plain(login.request.hostinfo.hostname[:80])}"
        )
        return answer({})

    def _check(self, asked: str) -> Check | None:
        try:
            return self._checks.find(asked)
        except NotFound:
            return None

    async def _register(self, request: web.Request, user_name: str, login_id: str) -> web.Response:
        login = self._logins.find(login_id)
        # A caller that hangs up in the middle must not leave a device waiting that is in.
        node = await asyncio.shield(self._let_in(request, login, user_named(self._acts.snapshot, user_name)))
        return answer({"node": node_object(self._acts.snapshot, node)})

    async def _let_in(self, request: web.Request, login: PendingLogin, user: User) -> Node:
        outcome = await self._acts.apply(
            request,
            "login.register",
            partial(log_in, request=login.request, user_id=user.id, method=RegisterMethod.CLI, vouched=True),
        )
        assert isinstance(outcome, Registered)
        self._logins.approve(login)
        return outcome.node
