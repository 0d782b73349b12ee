"""SSH sessions that a rule checks: the node that is come to asks, holds, and hears what somebody decided.

Whatever does not fit the one session that was asked about is turned away or asked about anew, and lets nothing in.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from harness.browsing import open_browser
from harness.clients.fake import FakeClient
from tests.integration.fakes import PATIENCE_S, Enrolled, Tailnet
from tests.integration.people import Place, logged_in, place
from tests.integration.test_dns import serving

PERIOD = "1h"


def policy(period: str | None = PERIOD, **more: Any) -> str:
    """alice may come as root and as herself to everybody's devices after a check, bob without one."""
    check = {
        "action": "check",
        "src": ["alice@"],
        "dst": ["alice@", "tag:server"],
        "users": ["root", "alice"],
        **({"checkPeriod": period} if period else {}),
        **more,
    }
    accept = {"action": "accept", "src": ["bob@"], "dst": ["tag:server"], "users": ["root"]}
    return json.dumps(
        {
            "tagOwners": {"tag:server": []},
            "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
            "ssh": [check, accept],
        }
    )


@dataclass
class Ends:
    """The device that one comes from, the one that is come to, and bob's."""

    tailnet: Tailnet
    source: Enrolled
    target: Enrolled
    bobs: Enrolled

    async def ask(self, *, asker: FakeClient | None = None, **changes: Any) -> dict[str, Any]:
        """The action that the destination is told; raises AssertionError for another status than 200."""
        status, document = await self.asks(asker=asker, **changes)
        assert status == 200, document
        return dict(document)

    async def asks(self, *, asker: FakeClient | None = None, **changes: Any) -> tuple[int, Any]:
        """Status and document, for this session or one with changes."""
        asked = {
            "source": self.source.id,
            "target": self.target.id,
            "local_user": "root",
            "auth_id": "",
            **changes,
        }
        path = f"/machine/ssh/action/{asked['source']}/to/{asked['target']}?local_user={asked['local_user']}"
        if asked["auth_id"]:
            path += f"&auth_id={asked['auth_id']}"
        path += str(changes.get("more", ""))
        session = await (asker or self.target.client).connect()
        async with asyncio.timeout(PATIENCE_S):
            answer = await session.request("GET", path)
        try:
            return answer.status, json.loads(answer.body)
        except ValueError:
            return answer.status, answer.body

    async def check(self, **changes: Any) -> str:
        """Ask once; the id of the check that is opened."""
        action = await self.ask(**changes)
        assert "accept" not in action
        url = urlsplit(action["holdAndDelegate"])
        (check_id,) = parse_qs(url.query)["auth_id"]
        assert f"/auth/{check_id}" in action["message"]
        return check_id

    async def say(self, word: str, check_id: str) -> None:
        await self.tailnet.server.call("POST", f"auth/{word}", {"authId": check_id})


@asynccontextmanager
async def ends_of(tailnet: Tailnet) -> AsyncIterator[Ends]:
    await tailnet.server.set_policy(policy())
    yield Ends(
        tailnet,
        await tailnet.join("laptop"),
        await tailnet.join("server", tags=("tag:server",)),
        await tailnet.join("bobs", user="2"),
    )


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    async with serving({}) as tailnet, ends_of(tailnet) as made:
        yield made


def is_accepted(action: dict[str, Any]) -> bool:
    """Let in, with all that a session may do."""
    return bool(action.get("accept")) and not action.get("reject") and not action.get("holdAndDelegate")


def is_rejected(action: dict[str, Any]) -> bool:
    return bool(action.get("reject")) and not action.get("accept") and not action.get("holdAndDelegate")


async def test_a_session_is_held_until_somebody_says_yes(ends: Ends) -> None:
    check_id = await ends.check()
    waiting = asyncio.create_task(ends.ask(auth_id=check_id))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await ends.say("approve", check_id)
    action = await waiting
    assert is_accepted(action)
    assert action["allowAgentForwarding"] is True
    assert action["allowLocalPortForwarding"] is True
    (event, *_) = (await ends.tailnet.server.call("GET", "audit"))["events"]
    assert (event["action"], event["details"]) == ("ssh.approve", "from laptop to server as root")


async def test_within_its_period_nobody_is_asked_again(ends: Ends) -> None:
    check_id = await ends.check()
    await ends.say("approve", check_id)
    assert is_accepted(await ends.ask())
    await ends.check(local_user="alice")  # another user of the same device is another question


async def test_after_its_period_and_with_always_everybody_is_asked(ends: Ends) -> None:
    for period in ("always", "0s"):
        await ends.tailnet.server.set_policy(policy(period))
        check_id = await ends.check()
        waiting = asyncio.create_task(ends.ask(auth_id=check_id))
        await asyncio.sleep(0.05)
        await ends.say("approve", check_id)
        assert is_accepted(await waiting)
        await ends.check()
    await ends.tailnet.server.set_policy(policy("3s"))
    await asyncio.sleep(3.1)
    await ends.say("approve", await ends.check())
    assert is_accepted(await ends.ask())
    await asyncio.sleep(3.1)
    await ends.check()


async def test_a_no_ends_it_and_what_was_said_before(ends: Ends) -> None:
    await ends.say("approve", await ends.check())
    assert is_accepted(await ends.ask())
    await ends.tailnet.server.set_policy(policy("always"))
    check_id = await ends.check()
    waiting = asyncio.create_task(ends.ask(auth_id=check_id))
    await asyncio.sleep(0.05)
    await ends.say("reject", check_id)
    action = await waiting
    assert is_rejected(action)
    assert "turned this session away" in action["message"]
    await ends.tailnet.server.set_policy(policy())
    await ends.check()


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_what_was_said_before_the_server_came_to_wait_is_told_once(ends: Ends, verdict: str) -> None:
    await ends.tailnet.server.set_policy(policy("always"))
    check_id = await ends.check()
    await ends.say(verdict, check_id)
    action = await ends.ask(auth_id=check_id)
    assert is_accepted(action) if verdict == "approve" else is_rejected(action)
    assert "holdAndDelegate" in await ends.ask(auth_id=check_id)


async def test_nobody_comes_in_time() -> None:
    async with serving({"tuning.register_cache_expiration": "1s"}) as tailnet, ends_of(tailnet) as ends:
        check_id = await ends.check()
        action = await ends.ask(auth_id=check_id)
        assert is_rejected(action)
        assert "in time" in action["message"]


async def test_after_a_restart_it_is_asked_about_anew(ends: Ends) -> None:
    """Neither what waits nor what was said lives on; the client's next question gets a new address."""
    waits = await ends.check()
    await ends.say("approve", await ends.check(local_user="alice"))
    await ends.tailnet.server.stop()
    await ends.tailnet.server.start()
    assert await ends.check(auth_id=waits) != waits
    await ends.check(local_user="alice")


async def test_an_accepting_rule_is_not_asked_about(ends: Ends) -> None:
    """The client has its answer from the policy: who asks all the same is turned away."""
    assert is_rejected(await ends.ask(source=ends.bobs.id))


# ---- A6

SESSIONS: dict[str, dict[str, Any]] = {
    "a user that the rule does not open": {"local_user": "postgres"},
    "a user like it": {"local_user": "Root"},
    "no user of the rule, in words of one": {"local_user": "alice%00"},
}


@pytest.mark.parametrize("changes", SESSIONS.values(), ids=SESSIONS.keys())
async def test_what_no_rule_checks_is_turned_away(ends: Ends, changes: dict[str, Any]) -> None:
    assert is_rejected(await ends.ask(**changes))


BAD: dict[str, tuple[dict[str, Any], int]] = {
    "no local user": ({"local_user": ""}, 400),
    "a very long one": ({"local_user": "x" * 300}, 400),
    "no number": ({"source": "x"}, 400),
    "a number that is none": ({"source": "99999999999999999999"}, 400),
    "an unknown source": ({"source": 999}, 404),
    "an unknown destination": ({"target": 999}, 404),
}


@pytest.mark.parametrize(("changes", "status"), BAD.values(), ids=BAD.keys())
async def test_questions_that_are_none(ends: Ends, changes: dict[str, Any], status: int) -> None:
    assert (await ends.asks(**changes))[0] == status


@pytest.mark.bar("A3")
async def test_only_the_destination_may_ask(ends: Ends) -> None:
    for asker in (ends.source.client, ends.bobs.client):
        assert (await ends.asks(asker=asker))[0] == 404
    check_id = await ends.check()
    assert (await ends.asks(asker=ends.bobs.client, auth_id=check_id))[0] == 404


async def test_a_yes_is_for_one_session_alone(ends: Ends) -> None:
    """Another source, destination or user with the id of an approved check is asked about anew."""
    second = await ends.tailnet.join("second")
    other_server = await ends.tailnet.join("other", tags=("tag:server",))
    check_id = await ends.check()
    await ends.say("approve", check_id)
    assert await ends.check(source=second.id, auth_id=check_id) != check_id
    assert await ends.check(local_user="alice", auth_id=check_id) != check_id
    action = await ends.ask(asker=other_server.client, target=other_server.id, auth_id=check_id)
    assert not action.get("accept")


async def test_a_check_that_waits_is_waited_for_by_its_own_session_alone(ends: Ends) -> None:
    second = await ends.tailnet.join("second")
    pending = await ends.check()
    assert await ends.check(source=second.id, auth_id=pending) != pending
    assert await ends.check(local_user="alice", auth_id=pending) != pending


async def test_a_device_that_changes_hands_meanwhile_is_not_let_in(ends: Ends) -> None:
    """Though the new owner might come after a check, too."""
    rules = json.loads(policy())
    rules["ssh"][0]["src"].append("tag:server")
    rules["ssh"][0]["dst"] = ["tag:server"]
    await ends.tailnet.server.set_policy(json.dumps(rules))
    check_id = await ends.check()
    waiting = asyncio.create_task(ends.ask(auth_id=check_id))
    await asyncio.sleep(0.05)
    await ends.tailnet.server.call("POST", f"node/{ends.source.id}/tags", {"tags": ["tag:server"]})
    await ends.say("approve", check_id)
    assert is_rejected(await waiting)


async def test_a_check_is_used_once(ends: Ends) -> None:
    await ends.tailnet.server.set_policy(policy("always"))
    check_id = await ends.check()
    waiting = asyncio.create_task(ends.ask(auth_id=check_id))
    await asyncio.sleep(0.05)
    await ends.say("approve", check_id)
    assert is_accepted(await waiting)
    assert await ends.check(auth_id=check_id) != check_id
    with pytest.raises(Exception, match="no login with this id"):
        await ends.say("approve", check_id)


async def test_the_period_comes_from_the_policy_alone(ends: Ends) -> None:
    await ends.tailnet.server.set_policy(policy("always"))
    await ends.say("approve", await ends.check())
    await ends.check(more="&checkPeriod=168h&period=168h")


async def test_a_rule_that_goes_takes_its_yes_along(ends: Ends) -> None:
    """Also for a session that is held at that moment."""
    check_id = await ends.check()
    waiting = asyncio.create_task(ends.ask(auth_id=check_id))
    await asyncio.sleep(0.05)
    await ends.tailnet.server.set_policy('{"tagOwners": {"tag:server": []}}')
    await ends.say("approve", check_id)
    assert is_rejected(await waiting)
    assert is_rejected(await ends.ask())


async def test_a_device_that_is_somebody_elses_now_has_no_yes(ends: Ends) -> None:
    await ends.say("approve", await ends.check())
    assert is_accepted(await ends.ask())
    await ends.tailnet.server.call("POST", f"node/{ends.source.id}/tags", {"tags": ["tag:server"]})
    assert is_rejected(await ends.ask())


async def test_an_expired_device_comes_nowhere(ends: Ends) -> None:
    await ends.say("approve", await ends.check())
    await ends.tailnet.server.call("POST", f"node/{ends.source.id}/expire")
    assert is_rejected(await ends.ask())
    await ends.tailnet.server.call("POST", f"node/{ends.target.id}/expire")
    assert (await ends.asks())[0] == 403


async def test_many_sessions_do_not_push_out_those_of_others(ends: Ends) -> None:
    kept = await ends.check(
        asker=ends.source.client, target=ends.source.id, source=(await ends.tailnet.join("third")).id
    )
    for _ in range(70):
        await ends.check()
    await ends.say("approve", kept)


# ---- recorders


async def test_what_was_confirmed_is_recorded_too(ends: Ends) -> None:
    await ends.tailnet.server.set_policy(policy(recorder=["tag:server"], enforceRecorder=True))
    await ends.say("approve", await ends.check())
    action = await ends.ask()
    assert is_accepted(action)
    assert [r.rpartition(":")[2] for r in action["recorders"]] == ["80", "80"]
    assert action["onRecordingFailure"]["RejectSessionWithMessage"]


# ---- people at an identity provider


@asynccontextmanager
async def at_provider() -> AsyncIterator[tuple[Place, Ends]]:
    async with place() as here:
        await here.tailnet.server.set_policy(policy().replace('"alice@"', '"alice@example.com"'))
        source = await logged_in(here, "laptop")
        yield (
            here,
            Ends(
                here.tailnet,
                Enrolled(source, here.tailnet.node_of(source).id),
                await here.tailnet.join("server", tags=("tag:server",)),
                await here.tailnet.join("bobs", user="2"),
            ),
        )


async def test_the_owner_confirms_at_the_provider() -> None:
    """With a page that shows the session, and a yes on it."""
    async with at_provider() as (here, ends):
        check_id = await ends.check()
        waiting = asyncio.create_task(ends.ask(auth_id=check_id))
        browser = await here.browser()
        asked = await browser.get(f"{here.tailnet.server.url}/auth/{check_id}")
        for words in ("laptop", "server", "root", "alice@example.com"):
            assert words in asked.text
        assert not waiting.done()
        assert (await browser.answer(asked, answer="yes")).status == 200
        assert is_accepted(await waiting)


async def test_the_owner_says_no() -> None:
    async with at_provider() as (here, ends):
        check_id = await ends.check()
        waiting = asyncio.create_task(ends.ask(auth_id=check_id))
        browser = await here.browser()
        asked = await browser.get(f"{here.tailnet.server.url}/auth/{check_id}")
        assert (await browser.answer(asked, answer="no")).status == 200
        assert is_rejected(await waiting)


async def test_nobody_else_confirms() -> None:
    """Not another person, not a form of another kind of login, and nobody for a device that is nobody's."""
    async with at_provider() as (here, ends):
        check_id = await ends.check()
        url = f"{here.tailnet.server.url}/auth/{check_id}"
        here.idp.knows("sub-mallory", email="alice@example.com", email_verified=True)
        browser = await here.browser()
        assert (await browser.get(url)).status == 403
        here.idp.person = "sub-alice"
        _, register = await here.device("other")
        page = await browser.get(register)
        target, hidden = page.form
        wrong = target.replace("/register/confirm/", "/auth/confirm/")
        assert (await browser.post(wrong, **hidden, answer="yes")).status == 400
        swapped = f"{here.tailnet.server.url}/auth/confirm/{check_id}"
        assert (await browser.post(swapped, **hidden, answer="yes")).status == 400
        asked = await browser.get(url)
        assert (await browser.post(asked.form[0], token="0" * 64, answer="yes")).status == 400
        await here.tailnet.server.call("POST", f"node/{ends.source.id}/tags", {"tags": ["tag:server"]})
        assert (await browser.answer(asked, answer="yes")).status == 403
        assert (await browser.get(url)).status == 403


async def test_without_a_provider_the_page_has_the_commands(ends: Ends) -> None:
    check_id = await ends.check()
    async with open_browser() as browser:
        page = await browser.get(f"{ends.tailnet.server.url}/auth/{check_id}")
    assert page.status == 200
    for words in ("laptop", "server", "root", f"auth approve --auth-id {check_id}", "auth reject"):
        assert words in page.text
