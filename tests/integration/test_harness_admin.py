"""The harness as an administrator of our server, by both doors: REST on the socket, and the `headscale` command."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from harness.policies import ALLOW_ALL, NOBODY
from harness.servers.base import Admin, AdminRefused, ServerAbility
from harness.servers.command import CommandAdmin, command_here
from harness.servers.local import local_settings
from harness.servers.process import ProcessServer

BROKEN = """{
    "acls": [
        {"action": "accept", "src": ["group:nobody"], "dst": ["*:*"]},
    ],
}"""


@pytest.fixture
async def server() -> AsyncIterator[ProcessServer]:
    """Our server as a process."""
    started = ProcessServer(local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=30)))
    await started.start()
    yield started
    await started.close()


@pytest.fixture(params=["rest", "command"])
def admin(request: pytest.FixtureRequest, server: ProcessServer) -> Admin:
    """An administrator, by one of the doors."""
    return server if request.param == "rest" else CommandAdmin(command_here(server.variables))


async def test_policies_are_set_and_broken_ones_refused_with_their_line(admin: Admin) -> None:
    """A comment and a last comma are the language's; the refusal says what and where."""
    await admin.set_policy(NOBODY)
    await admin.set_policy("// everybody\n" + ALLOW_ALL)
    with pytest.raises(AdminRefused, match=r"(?s)(line 3|:3:).*group:nobody"):
        await admin.set_policy(BROKEN)


async def test_users_are_listed(admin: Admin) -> None:
    """With their numbers, as keys want them."""
    number = await admin.create_user("alice")
    assert [(user.id, user.name) for user in await admin.users()] == [(number, "alice")]


async def test_oauth_clients_are_made(admin: Admin) -> None:
    """The secret has the client's id in it."""
    made = await admin.create_oauth_client(scopes=["auth_keys", "dns"], tags=["tag:a", "tag:b"])
    assert made.text.startswith(f"tskey-client-{made.id}-")
    with pytest.raises(AdminRefused, match="needs tags"):
        await admin.create_oauth_client(scopes=["auth_keys"], tags=[])


def test_servers_declare_what_they_can(server: ProcessServer) -> None:
    """Ours takes policies while it runs."""
    assert ServerAbility.POLICY in server.abilities
