"""The harness as an administrator of our server, by both doors: REST on the socket, and the `headscale` command."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from harness.backends.base import Completed
from harness.policies import ALLOW_ALL, NOBODY
from harness.servers.base import Admin, AdminRefused, ServerAbility
from harness.servers.command import CommandAdmin
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

    async def run(args: Sequence[str], *, stdin: str = "") -> Completed:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headscale.cli.main", *args),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **server.variables},
        )
        out, err = await process.communicate(stdin.encode())
        return Completed(tuple(args), process.returncode or 0, out.decode(), err.decode(), 0.0)

    return server if request.param == "rest" else CommandAdmin(run)


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
