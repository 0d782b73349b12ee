"""SSH between real devices by the policy's rules: who gets in as whom, who does not, and what waits to be confirmed.

Without clients, with every way to abuse a check: tests/integration/test_ssh_check.py.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from harness.backends.base import Capability
from harness.browsing import open_browser
from harness.clients.base import Ability
from harness.clients.tailscaled import TailscaledClient
from harness.logins import logs_in_person
from harness.plugin import MakeTailnet
from harness.recorder import SessionRecorder, header_of, offer, output_of, start_recorder
from harness.servers.identity import IdentityProvider
from harness.shells import SERVE, add_account, command, host_of, is_held, is_refused, logs_in_as
from harness.tailnet import Tailnet

pytestmark = [pytest.mark.needs(Capability.TUN), pytest.mark.needs(Capability.ACCOUNTS)]

ALL = {"action": "accept", "src": ["*"], "dst": ["*:*"]}
# The client notices a recorder that is gone when there is something to record.
TALKS = "echo begun; for n in $(seq 60); do echo $n; sleep 1; done; echo ended"
HTTP_ONLY = {"action": "accept", "src": ["*"], "dst": ["*:80"]}


def rules(*ssh: dict[str, Any], acl: dict[str, Any] = ALL) -> str:
    return json.dumps(
        {
            "groups": {"group:staff": ["alice@"]},
            "tagOwners": {"tag:server": ["alice@"]},
            "acls": [acl],
            "ssh": list(ssh),
        }
    )


def rule(action: str = "accept", **more: Any) -> dict[str, Any]:
    return {
        "action": action,
        "src": ["group:staff"],
        "dst": ["tag:server"],
        "users": ["root", "ssh-user"],
        **more,
    }


async def server_of(tailnet: Tailnet, name: str = "server", **more: Any) -> TailscaledClient:
    """A device that serves SSH, with the accounts root and ssh-user."""
    client = await tailnet.join("alice", name=name, extra=[SERVE], **more)
    assert isinstance(client, TailscaledClient)
    await add_account(client, "ssh-user")
    return client


async def comer(tailnet: Tailnet, user: str, name: str, **more: Any) -> TailscaledClient:
    client = await tailnet.join(user, name=name, **more)
    assert isinstance(client, TailscaledClient)
    return client


async def test_who_may_comes_and_who_may_not_does_not(make_tailnet: MakeTailnet) -> None:
    """Each release at either end: as root, as another account, and as one that no rule opens."""
    tailnet = await make_tailnet()
    await tailnet.user("alice")
    await tailnet.server.set_policy(rules(rule()))
    ends = tailnet.able(Ability.PREFS)
    servers = [
        await server_of(tailnet, f"server{n}", release=release, tags=["tag:server"])
        for n, release in enumerate(ends)
    ]
    staff = [await comer(tailnet, "alice", f"staff{n}", release=release) for n, release in enumerate(ends)]
    stranger = await comer(tailnet, "bob", "stranger")
    await tailnet.meshed([*servers, *staff, stranger])
    for server in servers:
        for one in staff:
            await logs_in_as(one, server, "root")
            await logs_in_as(one, server, "ssh-user")
            await is_refused(one, server, "nobody")
        await is_refused(stranger, server, "root")
        await is_refused(server, staff[0], "root")  # which does not serve


async def test_a_rule_opens_nothing_that_the_packet_filter_shuts(make_tailnet: MakeTailnet) -> None:
    tailnet = await make_tailnet()
    await tailnet.user("alice")
    await tailnet.server.set_policy(rules(rule(), acl=HTTP_ONLY))
    server = await server_of(tailnet, tags=["tag:server"])
    staff = await comer(tailnet, "alice", "staff")
    await tailnet.meshed([server, staff])
    await is_refused(staff, server, "root")
    await tailnet.server.set_policy(rules(rule()))
    await asyncio.sleep(1)
    await logs_in_as(staff, server, "root")


async def test_ones_own_devices_and_no_others(make_tailnet: MakeTailnet) -> None:
    tailnet = await make_tailnet()
    for user in ("alice", "bob"):
        await tailnet.user(user)
    own = rule(src=["autogroup:member"], dst=["autogroup:self"], users=["autogroup:nonroot"])
    await tailnet.server.set_policy(rules(own))
    devices = {
        user: [await comer(tailnet, user, f"{user}{n}", extra=[SERVE]) for n in (1, 2)]
        for user in ("alice", "bob")
    }
    await tailnet.meshed([one for both in devices.values() for one in both])
    for first, second in devices.values():
        await add_account(second, "ssh-user")
        await logs_in_as(first, second, "ssh-user")
        await is_refused(first, second, "root")
    await is_refused(devices["alice"][0], devices["bob"][1], "ssh-user")


# ---- checks


async def held_ends(
    make_tailnet: MakeTailnet, period: str = "always", **more: Any
) -> tuple[Tailnet, Any, Any]:
    """A tailnet whose rule checks, with a server and a device of alice's."""
    tailnet = await make_tailnet(**more)
    await tailnet.user("alice")
    await tailnet.server.set_policy(rules(rule("check", checkPeriod=period)))
    server = await server_of(tailnet, tags=["tag:server"])
    staff = await comer(tailnet, "alice", "staff")
    await tailnet.meshed([server, staff])
    return tailnet, staff, server


async def test_an_administrator_confirms_or_turns_away(make_tailnet: MakeTailnet) -> None:
    tailnet, staff, server = await held_ends(make_tailnet)
    held = await is_held(staff, server, "root")
    await tailnet.server.confirm_session(held.check_id)
    await held.goes_on()
    held = await is_held(staff, server, "root")
    await tailnet.server.turn_away(held.check_id)
    await held.is_turned_away()


async def test_within_the_period_nobody_is_asked_again_and_after_it_everybody(
    make_tailnet: MakeTailnet,
) -> None:
    tailnet, staff, server = await held_ends(make_tailnet, period="20s")
    held = await is_held(staff, server, "root")
    await tailnet.server.confirm_session(held.check_id)
    await held.goes_on()
    await logs_in_as(staff, server, "root")
    await asyncio.sleep(20)
    held = await is_held(staff, server, "root")
    await tailnet.server.turn_away(held.check_id)
    await held.is_turned_away()


async def test_what_nobody_confirms_ends(make_tailnet: MakeTailnet) -> None:
    _, staff, server = await held_ends(make_tailnet, config={"tuning.register_cache_expiration": "8s"})
    await (await is_held(staff, server, "root")).is_turned_away()


async def test_a_restart_of_the_server_asks_anew(make_tailnet: MakeTailnet) -> None:
    """The session that waits is given another address, and goes on with it."""
    tailnet, staff, server = await held_ends(make_tailnet)
    held = await is_held(staff, server, "root")
    await tailnet.server.stop()
    await tailnet.server.start()
    async with asyncio.timeout(60):
        while len(urls := {word for word in held.said.split() if "/auth/" in word}) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    (second,) = urls - {held.url}
    await tailnet.server.confirm_session(second.rpartition("/")[2])
    await held.goes_on()


@pytest_asyncio.fixture(loop_scope="session")
async def provider() -> AsyncIterator[IdentityProvider]:
    made = IdentityProvider()
    await made.start()
    for name in ("bob", "alice"):
        made.knows(f"sub-{name}", email=f"{name}@example.com", email_verified=True, preferred_username=name)
    yield made
    await made.close()


async def test_the_owner_confirms_at_the_identity_provider(
    make_tailnet: MakeTailnet, provider: IdentityProvider
) -> None:
    """Nobody else does; a no turns the session away."""
    tailnet = await make_tailnet(config=provider.configuration)
    staff = await tailnet.client(tailnet.able(Ability.LOGOUT)[-1])
    assert isinstance(staff, TailscaledClient)
    assert (await logs_in_person(tailnet, staff, provider, "sub-alice")).ok
    check = rule("check", src=["alice@example.com"], checkPeriod="always")
    await tailnet.server.set_policy(
        json.dumps({"tagOwners": {"tag:server": []}, "acls": [ALL], "ssh": [check]})
    )
    server = await server_of(tailnet, tags=["tag:server"])
    await tailnet.meshed([server, staff])
    held = await is_held(staff, server, "ssh-user")
    provider.person = "sub-bob"
    async with open_browser() as browser:
        assert (await browser.get(held.url)).status == 403
    provider.person = "sub-alice"
    async with open_browser() as browser:
        assert (await browser.answer(await browser.get(held.url), answer="yes")).status == 200
    await held.goes_on()
    held = await is_held(staff, server, "ssh-user")
    async with open_browser() as browser:
        assert (await browser.answer(await browser.get(held.url), answer="no")).status == 200
    await held.is_turned_away()


async def test_an_e_mail_address_is_an_account(make_tailnet: MakeTailnet, provider: IdentityProvider) -> None:
    """`localpart:*@example.com` opens the account of the person's own address, and no other."""
    tailnet = await make_tailnet(config=provider.configuration)
    staff = await tailnet.client(tailnet.able(Ability.LOGOUT)[-1])
    assert isinstance(staff, TailscaledClient)
    assert (await logs_in_person(tailnet, staff, provider, "sub-alice")).ok
    mine = rule(src=["autogroup:member"], users=["localpart:*@example.com"])
    await tailnet.server.set_policy(
        json.dumps({"tagOwners": {"tag:server": []}, "acls": [ALL], "ssh": [mine]})
    )
    server = await server_of(tailnet, tags=["tag:server"])
    for name in ("alice", "bob"):
        await add_account(server, name)
    await tailnet.meshed([server, staff])
    await logs_in_as(staff, server, "alice")
    for other in ("bob", "root", "ssh-user"):
        await is_refused(staff, server, other)


# ---- recording


async def recorded_ends(make_tailnet: MakeTailnet, recorder: SessionRecorder, **how: Any) -> tuple[Any, Any]:
    """A server whose sessions are recorded, and a device of alice's; the recorder has a node of its own."""
    tailnet = await make_tailnet()
    await tailnet.user("alice")
    written = json.loads(rules(rule(**how, recorder=["tag:recorder"], enforceRecorder=True)))
    written["tagOwners"]["tag:recorder"] = []
    await tailnet.server.set_policy(json.dumps(written))
    server = await server_of(tailnet, tags=["tag:server"])
    staff = await comer(tailnet, "alice", "staff")
    keeper = await comer(tailnet, "alice", "keeper", tags=["tag:recorder"])
    await offer(recorder, keeper)
    await tailnet.meshed([server, staff, keeper])
    return staff, server


@pytest_asyncio.fixture(loop_scope="session")
async def recorder() -> AsyncIterator[SessionRecorder]:
    async with start_recorder("0.0.0.0") as made:
        yield made


async def test_sessions_are_recorded_where_a_rule_says_so(
    make_tailnet: MakeTailnet, recorder: SessionRecorder
) -> None:
    """What the user saw is in it, and who they were."""
    staff, server = await recorded_ends(make_tailnet, recorder)
    await logs_in_as(staff, server, "ssh-user")
    (recording,) = recorder.recordings
    assert f"ssh-user at {await host_of(server)}" in output_of(recording)
    header = header_of(recording)
    assert header["localUser"] == "ssh-user"
    assert header["srcNode"].startswith("staff")


async def test_without_its_recorder_no_session_comes_about(
    make_tailnet: MakeTailnet, recorder: SessionRecorder
) -> None:
    """Where the rule enforces it; and it ends when the recorder breaks off."""
    staff, server = await recorded_ends(make_tailnet, recorder)
    recorder.refuses = True
    said = await is_refused(staff, server, "root")
    assert "must be recorded" in said
    recorder.refuses = False
    await staff.machine.spawn("long", command(server, "root", TALKS))
    log = staff.machine.data / "long.log"
    async with asyncio.timeout(20):
        while not log.exists() or "begun" not in log.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    recorder.break_off()
    assert await asyncio.wait_for(staff.machine.ended("long"), 30) != 0
    assert "ended" not in log.read_text()
