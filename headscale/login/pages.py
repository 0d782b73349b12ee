"""What a browser shows that opens the URL of a login or of an SSH session that waits.

With an identity provider the person goes on to it; without one an administrator reads the commands that decide.

Every text of the client's is escaped; an id is checked before it is shown.
"""

import html
from http import HTTPStatus

from aiohttp import web

from headscale.errors import HeadscaleError
from headscale.login.checks import PendingChecks
from headscale.login.device import device_rows, session_rows
from headscale.login.oidc.signin import SignIn
from headscale.login.pending import AUTH_PATH, REGISTER_PATH, PendingLogin, PendingLogins
from headscale.pages.page import listed, page
from headscale.state.writer import Writer


class LoginPages:
    """The pages of logins and sessions that wait."""

    def __init__(self, logins: PendingLogins, checks: PendingChecks, sign_in: SignIn, writer: Writer) -> None:
        self._logins = logins
        self._checks = checks
        self._sign_in = sign_in
        self._writer = writer

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [
            web.get(f"{REGISTER_PATH}{{id}}", self.register),
            web.get(f"{AUTH_PATH}{{id}}", self.confirm),
            *self._sign_in.routes(),
        ]

    async def register(self, request: web.Request) -> web.StreamResponse:
        """On to the identity provider; without one, the device that asks and the command that lets it in."""
        login_id = request.match_info["id"]
        try:
            login = self._logins.find(login_id)
            if self._sign_in.providers:
                return await self._sign_in.begin("register", login_id)
        except HeadscaleError as problem:
            return _not_waiting("This login is not waiting", problem)
        return page("A device asks to join", _of_login(login), HTTPStatus.OK)

    async def confirm(self, request: web.Request) -> web.StreamResponse:
        """On to the identity provider; without one, the SSH session that waits and the command that lets it go on."""
        check_id = request.match_info["id"]
        try:
            check = self._checks.find(check_id)
            if self._sign_in.providers:
                return await self._sign_in.begin("ssh", check_id)
        except HeadscaleError as problem:
            return _not_waiting("This session is not waiting", problem)
        body = (
            f"{listed(session_rows(self._writer.snapshot, check.session))}"
            "<p>If whoever started it has told you so, let it go on, on the server:</p>"
            f"{_command(f'auth approve --auth-id {check.id}')}"
            "<p>If not, turn it away:</p>"
            f"{_command(f'auth reject --auth-id {check.id}')}"
        )
        return page("An SSH session waits", body, HTTPStatus.OK)


def _of_login(login: PendingLogin) -> str:
    return (
        f"{listed(device_rows(login.request))}"
        "<p>If you know this device, let it in as one of the users, on the server:</p>"
        f"{_command(f'auth register --auth-id {login.id} --user USERNAME')}"
        "<p>If you do not, turn it away:</p>"
        f"{_command(f'auth reject --auth-id {login.id}')}"
    )


def _command(words: str) -> str:
    return f"<pre><code>headscale {words}</code></pre>"


def _not_waiting(title: str, problem: HeadscaleError) -> web.Response:
    return page(title, f"<p>{html.escape(str(problem))}</p>", problem.status)
