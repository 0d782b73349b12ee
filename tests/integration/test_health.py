"""`headscale health` on the server's own machine: both doors, with and without TLS, and what it says of a shut one."""

import json
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from harness.backends.base import Completed
from harness.errors import Missing
from harness.ports import free_port
from harness.servers.command import command_here
from harness.servers.local import local_settings
from harness.servers.postgres import start_postgres
from harness.servers.process import ProcessServer
from harness.strict import unavailable


async def asked(server: ProcessServer, *more: str, **variables: str) -> Completed:
    """The command, as a health check in the server's container runs it."""
    soon = {"HEADSCALE_CLI_TIMEOUT": "2s"}
    return await command_here({**server.variables, **soon, **variables})(["health", *more])


def elsewhere() -> str:
    """An address at which nobody listens."""
    return f"127.0.0.1:{free_port('127.0.0.1')}"


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ProcessServer]:
    """One that runs."""
    made = ProcessServer(
        local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5), with_tls=request.param)
    )
    await made.start()
    yield made
    await made.close()


async def test_a_server_that_works(server: ProcessServer) -> None:
    """By its socket and its main listener, whose certificate is another name's here."""
    ran = await asked(server)
    assert (ran.code, ran.stdout, ran.stderr) == (0, "ok\n", "")
    ran = await asked(server, "-o", "json")
    assert ran.code == 0
    assert json.loads(ran.stdout) == {
        "status": "pass",
        "databaseConnectivity": True,
        "listener": server.url,
    }


async def test_a_policy_that_cannot_be_used_is_told_and_is_no_failure(server: ProcessServer) -> None:
    """Green for a container's health check, which would only restart what then finds the same policy."""
    await server.set_policy('{"acls": []}')
    await server.stop()
    with sqlite3.connect(server.settings.database) as raw:
        raw.execute("UPDATE policies SET data = '{'")
    await server.start()
    ran = await asked(server)
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.startswith("running, but policy 1, which was set last, cannot be used (")
    ran = await asked(server, "-o", "json")
    assert ran.code == 0
    said = json.loads(ran.stdout)
    assert (said["status"], said["policyProblem"][:8]) == ("warn", "policy 1")
    assert (await asked(server, "-o", "json", HEADSCALE_LISTEN_ADDR=elsewhere())).code == 1


async def test_a_main_listener_that_is_not_there(server: ProcessServer) -> None:
    """The socket alone is no server: clients have no use for it."""
    somewhere = elsewhere()
    ran = await asked(server, HEADSCALE_LISTEN_ADDR=somewhere)
    assert ran.code == 1
    scheme = server.url.partition(":")[0]
    complaint = f"nobody answers at the main listener, {scheme}://{somewhere}: Connection refused"
    assert ran.stderr == f"Error: {complaint}\n"
    ran = await asked(server, "-o", "json", HEADSCALE_LISTEN_ADDR=somewhere)
    assert ran.code == 1
    assert (json.loads(ran.stdout)["status"], json.loads(ran.stdout)["problems"]) == ("fail", [complaint])


async def test_a_server_that_hangs_and_one_that_is_gone(server: ProcessServer) -> None:
    """The check ends in its time with what it waited for."""
    server.signal(signal.SIGSTOP)
    try:
        ran = await asked(server)
    finally:
        server.signal(signal.SIGCONT)
    assert ran.code == 1
    assert "did not answer within 2 s" in ran.stderr
    await server.stop()
    ran = await asked(server, "-o", "json")
    assert ran.code == 1
    assert "no server answers at" in json.loads(ran.stdout)["problems"][0]


async def test_a_database_that_is_gone_is_named() -> None:
    """The server lives and can do nothing: that is ill."""
    async with AsyncExitStack() as stack:
        try:
            postgres = await start_postgres(stack)
        except Missing as problem:
            unavailable(str(problem))
        postgres.create("hs")
        server = ProcessServer(
            local_settings(
                "127.0.0.1", ephemeral_timeout=timedelta(minutes=5), elsewhere=postgres.variables("hs")
            )
        )
        stack.push_async_callback(server.close)
        await server.start()
        assert (await asked(server)).code == 0
        await postgres.stop()
        ran = await asked(server, "-o", "json", HEADSCALE_CLI_TIMEOUT="15s")
        assert ran.code == 1
        said = json.loads(ran.stdout)
        assert (said["status"], said["databaseConnectivity"]) == ("fail", False)
        assert "database" in said["problems"][0]
