"""The pages behind "Admin console": who sees and does what, over real sockets with a browser of HTTP."""

import asyncio
import html
import re
from contextlib import AsyncExitStack
from typing import Any

import pytest

from harness.browsing import Browser, Page, open_browser
from harness.clients.fake import FakeClient
from harness.servers.inprocess import InProcessServer
from headscale.console.console import PAGE
from headscale.records import Role
from headscale.state.users import find_user
from tests.integration.fakes import PATIENCE_S
from tests.integration.people import Place, logged_in, place, someone
from tests.integration.test_oidc_again import asked_again, rechecking

_FORM = re.compile(r'<form method="post" action="([^"]*)">(.*?)</form>', re.DOTALL)
_TOKEN = re.compile(r'name="token" value="([^"]*)"')


def forms(page: Page) -> dict[str, str]:
    """Where the page's forms go, and their tokens."""
    return {html.unescape(at): _TOKEN.findall(inner)[0] for at, inner in _FORM.findall(page.text)}


async def opened(here: Place, path: str = "", browser: Browser | None = None) -> tuple[Browser, Page]:
    """The console in a browser, signed in if need be."""
    browser = browser or await here.browser()
    return browser, await browser.get(f"{here.tailnet.server.url}/admin{path}")


async def send(here: Place, browser: Browser, page: Page, path: str, **fields: str) -> Page:
    """The form of the page that goes there."""
    return await browser.post(f"{here.tailnet.server.url}{path}", token=forms(page)[path], **fields)


async def give(here: Place, role: str) -> None:
    user_id = someone(here).id
    await here.tailnet.server.call("POST", f"user/{user_id}/role", {"role": role})


def audit_names(document: Any) -> list[tuple[str, str]]:
    return [(event["actor"], event["action"]) for event in document["events"]]


async def test_a_member_sees_their_own_devices_and_nobody_elses(here: Place) -> None:
    """One visit signs in, at the provider; the policy of the page allows nothing but its own forms."""
    await logged_in(here, "laptop")
    other = await here.tailnet.join("printer", user="2")
    browser, page = await opened(here)
    assert (page.status, page.url) == (200, f"{here.tailnet.server.url}/admin")
    assert "laptop" in page.text
    assert "printer" not in page.text
    assert "alice@example.com</strong> (member)" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert page.headers["Cache-Control"] == "no-store"
    assert "<script" not in page.text
    for path in ("/devices", "/waiting", "/users", "/audit", f"/device/{other.id}", "/device/77"):
        _, refused = await opened(here, path, browser)
        assert (refused.status, "the role member lacks" in refused.text) == (403, True), path
        assert "printer" not in refused.text
        assert f'href="/admin{path}"' not in page.text
    assert (await opened(here, "/device/1"))[1].url.endswith("/admin/device/1")  # as it was opened
    for path, status in (("/device/x", 400), (f"/device/{9**30}", 400), ("/nothing", 404)):
        assert (await opened(here, path, browser))[1].status == status


async def test_a_cookie_is_kept_from_scripts_and_other_sites(here: Place) -> None:
    browser, _ = await opened(here)
    (cookie,) = [each for each in browser.session.cookie_jar if each.key == "headscale_session"]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/admin", True, "Lax")
    assert len(cookie.value) == 64
    assert (await here.browser()) is not browser
    stranger = await here.browser()
    sent_to = await stranger.get(f"{here.tailnet.server.url}/admin/audit", follow=False)
    assert (sent_to.status, sent_to.headers["Location"].startswith(here.idp.url)) == (302, True)


async def test_people_log_out_and_remove_devices_of_theirs(here: Place) -> None:
    client = await logged_in(here, "laptop")
    node = here.tailnet.node_of(client)
    browser, page = await opened(here, f"/device/{node.id}")
    base = f"/admin/device/{node.id}"
    assert set(forms(page)) == {"/admin/logout", f"{base}/logout", f"{base}/remove"}
    assert (await send(here, browser, page, f"{base}/logout")).status == 200
    assert here.tailnet.node_of(client).expired
    stale = await send(here, browser, page, f"{base}/remove")  # of before it was logged out
    assert (stale.status, "has changed since" in stale.text) == (403, True)
    _, page = await opened(here, f"/device/{node.id}", browser)
    assert f"{base}/logout" not in forms(page)
    assert (await send(here, browser, page, f"{base}/remove")).status == 200
    assert here.tailnet.node(node.id) is None
    assert (await send(here, browser, page, f"{base}/remove")).status == 403
    done = audit_names(await here.tailnet.server.call("GET", "audit"))[:2]
    assert done == [("person alice@example.com", "node.delete"), ("person alice@example.com", "node.expire")]


async def test_a_form_is_good_for_its_own_session_and_place(here: Place) -> None:
    """Not for another device, not in another browser, not after signing out, not without a session."""
    own = here.tailnet.node_of(await logged_in(here, "laptop")).id
    other = (await here.tailnet.join("printer", user="2")).id
    browser, page = await opened(here, f"/device/{own}")
    token = forms(page)[f"/admin/device/{own}/remove"]
    url = f"{here.tailnet.server.url}/admin/device"
    assert (await browser.post(f"{url}/{other}/remove", token=token)).status == 403
    assert (await browser.post(f"{url}/{own}/logout", token=token)).status == 403
    assert (await browser.post(f"{url}/{own}/remove")).status == 403
    assert (await browser.post(f"{url}/{own}/remove", token="0" * 64)).status == 403
    assert (await browser.post(f"{url}/{own}/explode", token=token)).status == 404
    second, _ = await opened(here)  # the same person, in another browser
    assert (await second.post(f"{url}/{own}/remove", token=token)).status == 403
    assert (await (await here.browser()).post(f"{url}/{own}/remove", token=token)).status == 401
    assert (await send(here, browser, page, "/admin/logout")).status == 200
    assert (await browser.post(f"{url}/{own}/remove", token=token)).status == 401
    assert {own, other} <= set(here.tailnet.server.app.writer.snapshot.nodes)


@pytest.mark.parametrize("role", ["admin", "owner"])
async def test_administrators_see_and_do_everything(role: str) -> None:
    """Other people's devices, approvals, and logins that wait: each is theirs in the audit log."""
    async with place() as here:
        first = await logged_in(here, "laptop")
        await give(here, role)
        held = here.tailnet.node_of(first)
        await here.tailnet.server.call("POST", f"node/{held.id}/authorize", {"authorized": False})
        other = await here.tailnet.join("printer", user="2")
        client, url = await here.device("phone")
        waiting = asyncio.create_task(client.register(followup=url))
        browser, page = await opened(here, "/devices")
        assert "printer" in page.text
        for path, words in (("/users", "bob"), ("/audit", f"role: member → {role}")):
            _, page = await opened(here, path, browser)
            assert (page.status, words in page.text) == (200, True)
            assert f'href="/admin{path}" aria-current="page"' in page.text
        _, page = await opened(here, f"/device/{held.id}", browser)
        assert (await send(here, browser, page, f"/admin/device/{held.id}/approve")).status == 200
        assert here.tailnet.node_of(first).authorized
        stale = await send(here, browser, page, f"/admin/device/{held.id}/remove")  # of one that waited
        assert (stale.status, "has changed since" in stale.text) == (403, True)
        _, page = await opened(here, f"/device/{other.id}", browser)
        assert (await send(here, browser, page, f"/admin/device/{other.id}/remove")).status == 200
        _, page = await opened(here, "/waiting", browser)
        assert "phone" in page.text
        path = f"/admin/waiting/{url.rpartition('/')[2]}/approve"
        assert (await send(here, browser, page, path, user="nobody")).status == 400
        assert (await send(here, browser, page, path, user="bob")).status == 200
        async with asyncio.timeout(PATIENCE_S):
            assert (await waiting)["MachineAuthorized"] is True
        assert here.tailnet.node_of(client).user_id == 2
        done = audit_names(await here.tailnet.server.call("GET", "audit"))[:3]
        assert done == [
            ("person alice@example.com", "login.register"),
            ("person alice@example.com", "node.delete"),
            ("person alice@example.com", "node.authorize"),
        ]


async def test_a_login_is_turned_away(here: Place) -> None:
    client, url = await here.device("phone")
    browser, _ = await opened(here)
    await give(here, "admin")
    waiting = asyncio.create_task(client.register(followup=url))
    _, page = await opened(here, "/waiting", browser)
    path = f"/admin/waiting/{url.rpartition('/')[2]}/reject"
    assert (await send(here, browser, page, path)).status == 200
    async with asyncio.timeout(PATIENCE_S):
        assert "turned this login away" in (await waiting)["Error"]


@pytest.mark.parametrize(("role", "reads"), [("auditor", True), ("network-admin", True), ("member", False)])
async def test_who_may_only_look_has_no_buttons(role: str, reads: bool) -> None:
    """And what such a button would send is refused: for others' devices, for approvals, for logins that wait."""
    async with place() as here:
        own = here.tailnet.node_of(await logged_in(here, "laptop"))
        await here.device("phone")
        other = await here.tailnet.join("printer", user="2")
        for node_id in (own.id, other.id):
            await here.tailnet.server.call("POST", f"node/{node_id}/authorize", {"authorized": False})
        browser, _ = await opened(here)
        await give(here, "admin")
        pages = [
            await opened(here, path, browser)
            for path in (f"/device/{other.id}", "/waiting", f"/device/{own.id}")
        ]
        sent = {path: token for _, page in pages for path, token in forms(page).items()}
        await give(here, role)
        for path in ("/devices", "/waiting", "/users", "/audit", f"/device/{other.id}"):
            _, page = await opened(here, path, browser)
            assert page.status == (200 if reads else 403), path
            assert set(forms(page)) <= {"/admin/logout"}
        mine = f"/admin/device/{own.id}"
        _, page = await opened(here, f"/device/{own.id}", browser)
        assert set(forms(page)) == {"/admin/logout", f"{mine}/logout", f"{mine}/remove"}
        others = {path for path in sent if path not in {"/admin/logout", f"{mine}/logout", f"{mine}/remove"}}
        assert f"{mine}/approve" in others
        assert len(others) == 6
        before = here.state
        for path in others:
            answer = await browser.post(f"{here.tailnet.server.url}{path}", token=sent[path], user="bob")
            assert (answer.status, f"the role {role} lacks" in answer.text) == (403, True), path
        assert here.state == before
        assert len(here.tailnet.server.app.vitals.logins.waiting) == 1


async def test_whoever_is_cut_off_or_deleted_is_signed_out() -> None:
    async with rechecking() as (here, client):
        browser, page = await opened(here)
        assert page.status == 200
        person = here.idp.people.pop("sub-alice")
        await asked_again(here)
        url = f"{here.tailnet.server.url}/admin"
        assert (await browser.get(url, follow=False)).status == 302
        here.idp.knows("sub-alice", **person)
        assert (await browser.get(url)).status == 200
        user = someone(here)
        await here.tailnet.server.call("DELETE", f"node/{here.tailnet.node_of(client).id}")
        await here.tailnet.server.call("DELETE", f"user/{user.id}")
        assert (await browser.get(url, follow=False)).status == 302


async def test_whose_provider_is_no_more_is_signed_out(here: Place) -> None:
    """The page of one without a provider is what they see."""
    browser, page = await opened(here)
    here.tailnet.server.app.sign_in.use(())
    assert "oidc.issuer" in (await opened(here, "", browser))[1].text
    assert (await send(here, browser, page, "/admin/logout")).status == 401


async def test_who_may_not_join_may_not_sign_in() -> None:
    async with place(allowed_domains=["example.org"]) as here:
        _, page = await opened(here)
        assert page.status == 403
        assert len(here.tailnet.server.app.writer.snapshot.users) == 2


async def test_the_first_to_sign_in_is_the_owner() -> None:
    async with place() as here:
        for user_id in (2, 1):
            await here.tailnet.server.call("DELETE", f"user/{user_id}")
        _, page = await opened(here)
        assert "(owner)" in page.text
        assert find_user(here.tailnet.server.app.writer.snapshot, someone(here).id).role is Role.OWNER


async def test_several_providers_are_a_choice() -> None:
    async with AsyncExitStack() as stack:
        other = {
            "name": "second",
            "issuer": "https://id.example.com",
            "client_id": "hs",
            "client_secret": "s",
        }
        more = {"oidc.others": [{**other, "only_start_if_oidc_is_available": False}]}
        here = await stack.enter_async_context(place(_more=more))
        browser, page = await opened(here)
        assert (page.status, "/admin/login/second" in page.text) == (200, True)
        assert "My devices" in (await opened(here, "/login/oidc", browser))[1].text
        assert (await opened(here, "/login/third", browser))[1].status == 404


async def test_without_a_provider_the_page_says_how_to_get_one(server: InProcessServer) -> None:
    async with open_browser() as browser:
        page = await browser.get(f"{server.url}/admin")
        assert (page.status, "oidc.issuer" in page.text, page.has_form) == (200, True, False)
        assert (await browser.post(f"{server.url}/admin/logout")).status == 401


@pytest.mark.bar("A10")
async def test_what_devices_and_people_call_themselves_is_text(here: Place) -> None:
    hostile = "<script>alert(1)</script>\"'&"
    here.idp.people["sub-alice"]["name"] = hostile
    client: FakeClient = await here.tailnet.client(hostile)
    await client.register()
    browser, _ = await opened(here)
    await give(here, "auditor")
    for path in ("", "/waiting", "/users", "/audit"):
        _, page = await opened(here, path, browser)
        assert page.status == 200
        assert "<script" not in page.text
    assert "&lt;script&gt;" in (await opened(here, "/waiting", browser))[1].text


async def test_long_lists_come_a_page_at_a_time(here: Place) -> None:
    """A hundred on each, and a link to the next while there is one."""
    for number in range(PAGE):
        await here.tailnet.server.create_user(f"user{number:03}")
    browser, _ = await opened(here)
    await give(here, "auditor")
    _, first = await opened(here, "/users", browser)
    (more,) = re.findall(r'href="/admin(/users[?]after=[0-9]+)"', first.text)
    _, last = await opened(here, more, browser)
    shown = [re.findall(r"<h2>(.*?)</h2>", page.text) for page in (first, last)]
    assert [len(each) for each in shown] == [PAGE, 3]
    assert len({*shown[0], *shown[1]}) == PAGE + 3
    assert "after=" not in last.text
    _, audit = await opened(here, "/audit", browser)
    (more,) = re.findall(r'href="/admin(/audit[?]before=[0-9]+)"', audit.text)
    assert (await opened(here, more, browser))[1].status == 200
    for wrong in ("x", "-1", "9" * 30):
        assert (await opened(here, f"/users?after={wrong}", browser))[1].status == 400
