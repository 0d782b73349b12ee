"""What a browser shows that opens a login's URL: which device asks, and how it gets in. With an identity provider the
person goes on to it; without one an administrator reads the command that lets the device in.

Every text of the client's is escaped; an id is checked before it is shown.
"""

import html
from http import HTTPStatus

from aiohttp import web

from headscale.errors import HeadscaleError
from headscale.login.device import device_rows
from headscale.login.oidc.signin import SignIn
from headscale.login.page import listed, page
from headscale.login.pending import REGISTER_PATH, PendingLogin, PendingLogins


class LoginPages:
    """The pages of logins that wait."""

    def __init__(self, logins: PendingLogins, sign_in: SignIn) -> None:
        self._logins = logins
        self._sign_in = sign_in

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [web.get(f"{REGISTER_PATH}{{login_id}}", self.register), *self._sign_in.routes()]

    async def register(self, request: web.Request) -> web.StreamResponse:
        """On to the identity provider; without one, the device that asks and the command that lets it in."""
        try:
            login = self._logins.find(request.match_info["login_id"])
            if self._sign_in.providers:
                return await self._sign_in.begin(login)
        except HeadscaleError as problem:
            body = f"<p>{html.escape(str(problem))}</p>"
            return page("This login is not waiting", body, problem.status)
        return page("A device asks to join", _body(login), HTTPStatus.OK)


def _body(login: PendingLogin) -> str:
    return (
        f"{listed(device_rows(login.request))}"
        "<p>If you know this device, let it in as one of the users, on the server:</p>"
        f"<pre><code>headscale auth register --auth-id {login.id} --user USERNAME</code></pre>"
        "<p>If you do not, turn it away:</p>"
        f"<pre><code>headscale auth reject --auth-id {login.id}</code></pre>"
    )
