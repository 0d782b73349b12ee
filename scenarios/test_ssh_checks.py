"""SSH sessions between real devices that wait until somebody confirms them.

Without clients, with every way to abuse a check: tests/integration/test_ssh_check.py.
"""

import asyncio
from typing import Any

import pytest

from harness.backends.base import Capability
from harness.browsing import open_browser
from harness.clients.base import Ability
from harness.clients.tailscaled import TailscaledClient
from harness.logins import logs_in_person
from harness.plugin import MakeTailnet
from harness.policies import ssh
from harness.servers.base import Admin, ControlServer
from harness.servers.command import CommandAdmin, command_here
from harness.servers.identity import IdentityProvider
from harness.servers.inprocess import InProcessServer
from harness.servers.process import ProcessServer
from harness.shells import device, is_held, logs_in_as, set_ssh_policy, ssh_server
from harness.tailnet import Tailnet, gather

pytestmark = pytest.mark.needs(Capability.TUN)

Ends = list[tuple[TailscaledClient, TailscaledClient]]
"""From where one comes, and to where."""


async def held_ends(make_tailnet: MakeTailnet, period: str = "always", **more: Any) -> tuple[Tailnet, Ends]:
    """A tailnet whose rule checks, with devices of alice's and servers: the oldest release at either end."""
    tailnet = await make_tailnet(**more)
    await tailnet.user("alice")
    check = ssh(
        "group:staff", to="tag:server", users=["root", "ssh-user"], action="check", checkPeriod=period
    )
    await set_ssh_policy(tailnet, check, groups={"group:staff": ["alice@"]})
    releases = tailnet.able(Ability.PREFS)
    oldest, newest = releases[0], releases[-1]
    servers = [
        ssh_server(tailnet, "alice", f"server-{age}", release=release, tags=["tag:server"])
        for age, release in (("new", newest), ("old", oldest))
    ]
    staff = [
        device(tailnet, "alice", f"staff-{age}", release=release)
        for age, release in (("old", oldest), ("new", newest))
    ]
    made = await gather(*servers, *staff)
    await tailnet.meshed(made)
    return tailnet, list(zip(made[2:], made[:2], strict=True))


def at_the_command_line(server: ControlServer) -> Admin:
    """An administrator of the server who types."""
    if isinstance(server, InProcessServer | ProcessServer):
        return CommandAdmin(command_here(server.settings.variables))
    assert isinstance(server, CommandAdmin)
    return server


async def decides(admin: Admin, ends: Ends) -> None:
    """The administrator confirms a session of each, and turns another away."""
    for staff, server in ends:
        held = await is_held(staff, server, "root")
        await admin.confirm_session(held.check_id)
        await held.goes_on()
        held = await is_held(staff, server, "root")
        await admin.turn_away(held.check_id)
        await held.is_turned_away()


async def test_an_administrator_confirms_or_turns_away(make_tailnet: MakeTailnet) -> None:
    tailnet, ends = await held_ends(make_tailnet)
    await decides(tailnet.server, ends)


async def test_an_administrator_does_so_at_the_command_line(make_tailnet: MakeTailnet) -> None:
    """`headscale auth approve` and `headscale auth reject`, with the id that the session's user was shown."""
    tailnet, ends = await held_ends(make_tailnet)
    await decides(at_the_command_line(tailnet.server), ends)


async def test_within_the_period_nobody_is_asked_again_and_after_it_everybody(
    make_tailnet: MakeTailnet,
) -> None:
    """A session of another account is another question."""
    tailnet, ends = await held_ends(make_tailnet, period="20s")
    for staff, server in ends:
        held = await is_held(staff, server, "root")
        await tailnet.server.confirm_session(held.check_id)
        await held.goes_on()
        await logs_in_as(staff, server, "root")
        other = await is_held(staff, server, "ssh-user")
        await tailnet.server.turn_away(other.check_id)
        await other.is_turned_away()
        await logs_in_as(staff, server, "root")
        await asyncio.sleep(20)
        held = await is_held(staff, server, "root")
        await tailnet.server.turn_away(held.check_id)
        await held.is_turned_away()


async def test_what_nobody_confirms_ends(make_tailnet: MakeTailnet) -> None:
    _, ends = await held_ends(make_tailnet, config={"tuning.register_cache_expiration": "8s"})
    for staff, server in ends:
        await (await is_held(staff, server, "root")).is_turned_away()


async def test_a_restart_of_the_server_asks_anew(make_tailnet: MakeTailnet) -> None:
    """The session that waits is given another address, and goes on with it."""
    tailnet, ends = await held_ends(make_tailnet)
    waiting = [await is_held(staff, server, "root") for staff, server in ends]
    await tailnet.server.stop()
    await tailnet.server.start()
    for held in waiting:
        async with asyncio.timeout(60):
            while len(urls := {word for word in held.said.split() if "/auth/" in word}) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        (second,) = urls - {held.url}
        await tailnet.server.confirm_session(second.rpartition("/")[2])
        await held.goes_on()


async def test_the_owner_confirms_at_the_identity_provider(
    make_tailnet: MakeTailnet, provider: IdentityProvider
) -> None:
    """Nobody else does; a no turns the session away."""
    tailnet = await make_tailnet(config=provider.configuration)
    check = ssh("alice@example.com", to="tag:server", users="ssh-user", action="check", checkPeriod="always")
    await set_ssh_policy(tailnet, check)
    releases = tailnet.able(Ability.LOGOUT)
    for here, there in ((releases[0], releases[-1]), (releases[-1], releases[0])):
        staff = await tailnet.client(here)
        assert isinstance(staff, TailscaledClient)
        assert (await logs_in_person(tailnet, staff, provider, "sub-alice")).ok
        server = await ssh_server(
            tailnet, "admin", f"server-{staff.name}", release=there, tags=["tag:server"]
        )
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
