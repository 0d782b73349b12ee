"""Roles of people through the running server: who is told, what is written down, groups of a provider, the command."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest

from harness.servers.configuration import Configuration
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from harness.servers.process import ProcessServer
from headscale.records import Role, RoleMapping
from headscale.reload import settle_roles
from headscale.state.settings import configure
from tests.integration.commands import Ran, headscale_inside
from tests.integration.doors import doors_of
from tests.integration.fakes import EPHEMERAL_TIMEOUT, PATIENCE_S, Tailnet, until
from tests.integration.people import Place, logged_in, someone
from tests.integration.test_oidc_again import asked_again, rechecking

ADMINS_REACH = '{"acls": [{"action": "accept", "src": ["autogroup:%s"], "dst": ["*:*"]}]}'


@pytest.mark.parametrize("role", ["admin", "network-admin", "auditor", "owner"])
async def test_a_role_opens_and_shuts_what_the_policy_gives_to_it(
    server: InProcessServer, tailnet: Tailnet, role: str
) -> None:
    """Streams that are open learn it at once."""
    mine, other = await tailnet.join("one", user="1"), await tailnet.join("two", user="2")
    stream = await other.stream()
    async with doors_of(server) as (socket, _):
        assert (await socket("PUT", "policy", {"policy": ADMINS_REACH % role}))[0] == 200
        shut = role != "owner"  # alice, who is it, reaches bob
        await until(stream, lambda netmap: (mine.id not in netmap.peers) is shut)
        assert (await socket.v2("POST", "users/2/role", {"role": role}))[0] == 200
        await until(stream, lambda netmap: mine.id in netmap.peers)
        taken = ("1", "owner") if role == "owner" else ("2", "member")
        assert (await socket("POST", f"user/{taken[0]}/role", {"role": taken[1]}))[0] == 200
        await until(stream, lambda netmap: (mine.id not in netmap.peers) is shut)


async def test_who_gave_which_role_is_written_down(server: InProcessServer, tailnet: Tailnet) -> None:
    async with doors_of(server) as (socket, main):
        key = (await socket("POST", "apikey", {}))[1]["apiKey"]
        by_key = main.with_key(key)
        assert (await by_key.v2("POST", "users/2/role", {"role": "owner"}))[0] == 200
        (event, *_) = (await socket("GET", "audit"))[1]["events"]
        assert event["actor"] == f"API key {key[10:22]}"
        assert event["action"] == "user.role"
        assert [(c["target"], c["before"], c["after"]) for c in event["changes"]] == [
            ("user 1", {"role": "owner"}, {"role": "admin"}),
            ("user 2", {"role": "member"}, {"role": "owner"}),
        ]
        shown = {"userId": "2", "name": "bob", "role": "owner", "decidedBy": ""}
        assert (await socket("GET", "user/roles"))[1]["roles"][1] == shown
        refused = (await socket("POST", "user/2/role", {"role": "member"}))[1]
        assert (refused["status"], "set-role <user> owner" in refused["detail"]) == (409, True)


async def test_roles_outlive_a_restart(server: InProcessServer, tailnet: Tailnet) -> None:
    async with doors_of(server) as (socket, _):
        assert (await socket("POST", "user/2/role", {"role": "auditor"}))[0] == 200
    await server.stop()
    await server.start()
    roles = (await server.call("GET", "user/roles"))["roles"]
    assert [told["role"] for told in roles] == ["owner", "auditor"]


async def test_groups_of_the_provider_give_roles_and_take_them() -> None:
    """At each login and each time that the provider is asked again; what it decides nobody else does."""
    async with rechecking(roles={"admin": ["ops"], "auditor": ["audit"]}) as (here, _):
        person = here.idp.people["sub-alice"]
        assert someone(here).role is Role.MEMBER
        person["groups"] = ["audit"]
        await asked_again(here)
        assert someone(here).role is Role.AUDITOR
        (event, *_) = (await here.tailnet.server.call("GET", "audit"))["events"]
        assert event["changes"][0]["after"] == {"groups": ["audit"], "role": "auditor"}
        person["groups"] = ["audit", "ops"]
        await logged_in(here, "second")
        assert someone(here).role is Role.ADMIN
        async with doors_of(here.tailnet.server) as (socket, _):
            path = f"user/{someone(here).id}/role"
            status, document = await socket("POST", path, {"role": "member"})
            assert (status, "oidc.roles" in document["detail"]) == (409, True)
            assert (await socket("POST", path, {"role": "owner"}))[0] == 200
        person["groups"] = []
        await asked_again(here)
        assert someone(here).role is Role.OWNER


async def test_a_mapping_that_is_new_holds_for_who_is_there(here: Place) -> None:
    """By the groups that the provider told last, without a login; the log has who did it."""
    here.idp.people["sub-alice"]["groups"] = ["ops"]
    await logged_in(here)
    assert someone(here).role is Role.MEMBER
    writer = here.tailnet.server.app.writer
    mapping = RoleMapping(issuer=here.idp.url, key="oidc.roles", groups=((Role.ADMIN, ("ops",)),))
    wanted = replace(writer.snapshot.configured, role_mappings=(mapping,))
    await writer.apply(partial(configure, configured=wanted))
    await settle_roles(writer)
    assert someone(here).role is Role.ADMIN
    (event, *_) = (await here.tailnet.server.call("GET", "audit"))["events"]
    assert (event["actor"], event["action"]) == ("configuration", "user.role")


async def test_a_tailnet_without_an_owner_is_told_at_each_start_and_reload() -> None:
    """As one is that is older than roles."""
    settings = local_settings(
        "127.0.0.1",
        ephemeral_timeout=EPHEMERAL_TIMEOUT,
        configuration=Configuration({"log.level": "info"}, {}),
    )
    server = ProcessServer(settings)
    await server.start()
    try:
        await server.call("POST", "user", {"name": "alice"})
        assert server.output.count("no user is the owner") == 0
        await server.stop()
        with closing(sqlite3.connect(settings.data / "db.sqlite")) as database, database:
            database.execute("UPDATE users SET role = 'member'")
        await server.start()
        assert server.output.count("no user is the owner") == 1
        assert "headscale users set-role <user> owner" in server.output
        server.reload(Configuration({"log.level": "debug"}, {}))
        async with asyncio.timeout(PATIENCE_S):
            while server.output.count("no user is the owner") < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await server.call("POST", "user/1/role", {"role": "owner"})
    finally:
        await server.close()


async def test_the_command(server: InProcessServer, tailnet: Tailnet) -> None:
    """By name or ID; the list shows it, and so does its JSON; the owner stays."""
    headscale = partial(headscale_inside, server.settings)
    said = Ran(0, "bob (ID 2) is a network-admin now\n", "")
    assert await headscale("users", "set-role", "bob", "network-admin") == said
    ran = await headscale("users", "set-role", "2", "auditor")
    assert (ran.code, ran.out) == (0, "bob (ID 2) is an auditor now\n")
    table = (await headscale("users", "list")).out
    assert [("owner" in line, "auditor" in line) for line in table.splitlines()[-2:]] == [
        (True, False),
        (False, True),
    ]
    listed = (await headscale("users", "list", "-o", "json")).document
    assert [(user["name"], user["role"]) for user in listed] == [("alice", "owner"), ("bob", "auditor")]
    ran = await headscale("users", "set-role", "alice", "admin")
    assert ran.code == 1
    assert "hand ownership over first" in ran.err
    ran = await headscale("users", "set-role", "eve", "admin")
    assert (ran.code, "expected exactly one user called eve, found 0" in ran.err) == (1, True)
    assert (await headscale("users", "set-role", "bob", "root")).code == 2


async def test_the_command_makes_keys_of_people(server: InProcessServer, tailnet: Tailnet) -> None:
    """The list says whose each is; one that is nobody's has no user at all."""
    headscale = partial(headscale_inside, server.settings)
    made = await headscale("apikeys", "create", "--user", "bob")
    assert (made.code, made.out.startswith("hskey-api-")) == (0, True)
    assert (await headscale("apikeys", "create")).code == 0
    listed = (await headscale("apikeys", "list", "-o", "json")).document
    assert [key.get("user", {}).get("name") for key in listed] == ["bob", None]
    table = (await headscale("apikeys", "list")).out.splitlines()
    assert [("bob" in line) for line in table[-2:]] == [True, False]
    async with doors_of(server) as (_, main):
        assert (await main.with_key(made.out.strip())("GET", "user"))[0] == 403
    assert (await headscale("apikeys", "create", "--user", "eve")).code == 1
