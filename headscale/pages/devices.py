"""How devices of each system are told to log in here: what their users open, type or install."""

import html
import shlex
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from uuid import uuid4

from aiohttp import web

from headscale.pages.page import page
from headscale.pages.profile import CONTENT_TYPE, PAYLOAD_TYPES, profile_of

APPLE: Final = "/apple"
WINDOWS: Final = "/windows"
_BUILDS: Final = {"macos-app-store": "App Store", "macos-standalone": "standalone"}


class DevicePages:
    """The pages. `server_url` gives the address that devices log in to."""

    def __init__(self, server_url: Callable[[], str]) -> None:
        self._server_url = server_url

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [
            web.get(APPLE, self.apple),
            web.get(f"{APPLE}/{{build}}", self.profile),
            web.get(WINDOWS, self.windows),
        ]

    async def apple(self, request: web.Request) -> web.Response:
        """iPhone, iPad, Mac and Apple TV."""
        return page("Tailscale on Apple devices", _apple(self._server_url()), HTTPStatus.OK)

    async def windows(self, request: web.Request) -> web.Response:
        """One command."""
        body = (
            "<p>Install Tailscale, open a terminal, and log in to this server:</p>"
            f"{_lines(_login(self._server_url()))}"
            "<p>A browser opens for the login. Afterwards Tailscale's icon shows that the device is connected.</p>"
        )
        return page("Tailscale on Windows", body, HTTPStatus.OK)

    async def profile(self, request: web.Request) -> web.Response:
        """A profile to install; no two have the same ids."""
        build = request.match_info["build"]
        if build not in PAYLOAD_TYPES:
            known = ", ".join(f"<code>{name}</code>" for name in PAYLOAD_TYPES)
            body = f"<p>There are profiles for {known}. <a href='{APPLE}'>How to use them</a></p>"
            return page("There is no such profile", body, HTTPStatus.NOT_FOUND)
        made = profile_of(build, self._server_url(), profile_id=uuid4(), payload_id=uuid4())
        headers = {
            "Content-Disposition": f'attachment; filename="headscale-{build}.mobileconfig"',
            "Cache-Control": "no-store",
        }
        return web.Response(body=made, content_type=CONTENT_TYPE, charset="utf-8", headers=headers)


def _apple(url: str) -> str:
    shown = f"<code>{html.escape(url)}</code>"
    defaults = [
        f"defaults write {PAYLOAD_TYPES[build]} ControlURL {shlex.quote(url)}  # {name} app"
        for build, name in _BUILDS.items()
    ]
    downloads = "".join(
        f'<li><a href="{APPLE}/{build}">Profile for the {name} app</a></li>'
        for build, name in _BUILDS.items()
    )
    return (
        "<h2>iPhone and iPad</h2>"
        "<ol><li>Open the Tailscale app, tap the account icon at the top right, then <b>Log in…</b></li>"
        "<li>In the menu at the top right choose <b>Use custom coordination server</b></li>"
        f"<li>Enter {shown} and log in</li></ol>"
        f'<p>Or install a <a href="{APPLE}/ios">profile</a>, which sets the server for the app.</p>'
        "<h2>Mac</h2>"
        f"<p>In a terminal:</p>{_lines(_login(url))}"
        "<p>Or in the app:</p>"
        "<ol><li>Hold Option, click Tailscale's icon in the menu bar, and go to <b>Debug</b></li>"
        "<li>Below <b>Custom Login Server</b> choose <b>Add Account…</b></li>"
        f"<li>Enter {shown}, choose <b>Add Account</b>, and log in in the browser</li></ol>"
        "<h3>A server for all logins of a Mac</h3>"
        "<p>By a profile, which is opened after the download and then installed in the system's settings "
        "(look for Profiles, or Device Management):</p>"
        f"<ul>{downloads}</ul>"
        "<p>A profile is a text file: read what it sets before you install it. Or in a terminal:</p>"
        f"{_lines(*defaults)}"
        "<p>Then quit Tailscale, open it again, and log in.</p>"
        "<h2>Apple TV</h2>"
        "<ol><li>In the system's Settings go to Apps, then Tailscale</li>"
        f"<li>Below <b>Alternate Coordination Server URL</b> enter {shown}</li>"
        "<li>Open Tailscale, choose <b>Install VPN configuration</b>, and allow it</li>"
        "<li>Scan the code that it shows with a phone, and log in there</li></ol>"
    )


def _login(url: str) -> str:
    return f"tailscale login --login-server {shlex.quote(url)}"


def _lines(*lines: str) -> str:
    return f"<pre><code>{html.escape(chr(10).join(lines))}</code></pre>"
