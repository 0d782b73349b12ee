"""What a browser shows that opens a login's URL: which device asks, and how an administrator lets it in.

Plain HTML without scripts. Every text of the client's is escaped; an id is checked before it is shown.
"""

import html
from http import HTTPStatus
from typing import Final

from aiohttp import web

from headscale.errors import HeadscaleError
from headscale.keys import MachineKey
from headscale.login.pending import REGISTER_PATH, PendingLogin, PendingLogins

_STYLE: Final = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}"
    "code,pre{font-family:ui-monospace,monospace}pre{padding:1rem;border:1px solid;overflow-x:auto}"
    "dt{font-weight:600}dd{margin:0 0 .5rem}"
)
# No script, no frame, no form, nothing from elsewhere.
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
FINGERPRINT_DIGITS: Final = 16


class LoginPages:
    """The pages of logins that wait."""

    def __init__(self, logins: PendingLogins) -> None:
        self._logins = logins

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [web.get(f"{REGISTER_PATH}{{login_id}}", self.register)]

    async def register(self, request: web.Request) -> web.Response:
        """The device that asks, and the command that lets it in."""
        try:
            login = self._logins.find(request.match_info["login_id"])
        except HeadscaleError as problem:
            return page("This login is not waiting", f"<p>{html.escape(str(problem))}</p>", problem.status)
        return page("A device asks to join", _body(login), HTTPStatus.OK)


def page(title: str, body: str, status: HTTPStatus) -> web.Response:
    """A whole page; `body` is HTML, `title` is text."""
    heading = html.escape(title)
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{heading} - headscale</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><main><h1>{heading}</h1>{body}</main></body></html>\n"
    )
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)


def fingerprint(key: MachineKey) -> str:
    """The start of a machine key in groups of four, to compare by eye with what the device shows."""
    digits = key.partition(":")[2][:FINGERPRINT_DIGITS]
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def _body(login: PendingLogin) -> str:
    hostinfo = login.request.hostinfo
    rows = [
        ("Device", hostinfo.hostname or "(no name)"),
        ("System", " ".join(filter(None, (hostinfo.os, hostinfo.os_version))) or "(not said)"),
        ("Machine key", fingerprint(login.request.machine_key)),
    ]
    if hostinfo.request_tags:
        rows.append(("Asks for tags", ", ".join(hostinfo.request_tags)))
    shown = "".join(f"<dt>{name}</dt><dd>{html.escape(value[:200])}</dd>" for name, value in rows)
    return (
        f"<dl>{shown}</dl><p>If you know this device, let it in as one of the users, on the server:</p>"
        f"<pre><code>headscale auth register --auth-id {login.id} --user USERNAME</code></pre>"
        f"<p>If you do not, turn it away:</p>"
        f"<pre><code>headscale auth reject --auth-id {login.id}</code></pre>"
    )
