"""The page of a login that waits: what it says, and that nothing of a client's gets into its markup."""

from collections.abc import AsyncIterator
from datetime import timedelta
from unittest.mock import Mock

import pytest
from aiohttp import ClientSession, web

from headscale.clock import ManualClock
from headscale.login.device import fingerprint
from headscale.login.oidc.signin import SignIn
from headscale.login.pages import LoginPages
from headscale.login.pending import PREFIX, PendingLogins
from headscale.tailcfg.hostinfo import Hostinfo
from tests.builders import NOW, mkey, request

HOSTILE = "<script>alert(1)</script>\"'&\u202e"


@pytest.fixture
def logins() -> PendingLogins:
    return PendingLogins(ManualClock(NOW), lambda size: bytes(size), lifetime=timedelta(minutes=1), at_most=9)


@pytest.fixture
async def url(logins: PendingLogins) -> AsyncIterator[str]:
    app = web.Application()
    nobody = SignIn((), {}, Mock(), Mock(), ManualClock(NOW))
    app.add_routes(LoginPages(logins, Mock(), nobody, Mock()).routes())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/register/"
    await runner.cleanup()


async def fetched(url: str) -> tuple[int, str, str]:
    async with ClientSession() as http, http.get(url) as answer:
        return answer.status, answer.headers.get("Content-Security-Policy", ""), await answer.text()


async def test_it_names_the_device_and_the_command(logins: PendingLogins, url: str) -> None:
    hostinfo = Hostinfo(hostname="laptop", os="linux", os_version="6.1", request_tags=("tag:web",))
    login = logins.open(request(1, hostinfo=hostinfo), "192.0.2.1")
    status, policy, text = await fetched(url + login.id)
    assert status == 200
    assert "default-src 'none'" in policy
    for part in ("laptop", "linux 6.1", "tag:web", fingerprint(mkey(1)), f"--auth-id {login.id} --user"):
        assert part in text


@pytest.mark.bar("A10")
async def test_what_a_client_says_is_text_and_not_markup(logins: PendingLogins, url: str) -> None:
    hostinfo = Hostinfo(hostname=HOSTILE, os=HOSTILE, request_tags=(HOSTILE,))
    login = logins.open(request(1, hostinfo=hostinfo), "192.0.2.1")
    _, _, text = await fetched(url + login.id)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("login_id", "status"), [("x", 400), ("%3Cscript%3E", 400), (PREFIX + "f" * 24, 404)]
)
async def test_what_does_not_wait_has_a_page_that_says_so(url: str, login_id: str, status: int) -> None:
    got, policy, text = await fetched(url + login_id)
    assert (got, "default-src 'none'" in policy, "<script" in text) == (status, True, False)
    assert "This login is not waiting" in text
