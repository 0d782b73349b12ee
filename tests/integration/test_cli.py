"""The `headscale` command as a newcomer runs it: a server by environment alone, and the verbs against it."""

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from harness.clients.fake import FakeClient
from harness.servers.inprocess import InProcessServer
from harness.servers.local import LocalSettings
from harness.servers.process import ProcessServer
from tests.integration.commands import STOP_S, Headscale, Ran, Serve, headscale_inside, started
from tests.integration.fakes import registered


async def test_the_first_start_says_what_to_do_and_that_works(
    serve: Serve, headscale: Headscale, settings: LocalSettings
) -> None:
    """URL, data directory, and commands that let a client in as they stand."""
    welcome = (await serve()).welcome
    assert settings.url in welcome
    assert str(settings.data) in welcome
    commands = re.findall(r"^  headscale (.*)$", welcome, re.MULTILINE)
    assert commands == ["users create me", "preauthkeys create --user 1"]
    results = [await headscale(*command.split()) for command in commands]
    assert [ran.code for ran in results] == [0, 0]
    assert f"tailscale up --login-server {settings.url} --auth-key <the key>" in welcome
    async with FakeClient(settings.url) as client:
        await registered(client, results[1].out.strip())


async def test_started_again_it_finds_everything(
    serve: Serve, headscale: Headscale, settings: LocalSettings
) -> None:
    """Ctrl-C ends it within moments and without an error, with a client at its poll."""
    first = await serve()
    await headscale("users", "create", "me")
    key = (await headscale("preauthkeys", "create", "-u", "1")).out.strip()
    async with FakeClient(settings.url, hostname="laptop") as client:
        await registered(client, key)
        stream = await client.stream_map()
        await stream.next_message(within=10)
        before = (await headscale("nodes", "list", "-o", "json")).document
        assert [node["online"] for node in before] == [True]
        assert await first.stop(signal.SIGINT) == 0
        assert not settings.socket.exists()
        second = await serve()
        assert "users create" not in second.welcome
        after = (await headscale("nodes", "list", "-o", "json")).document
        kept = ("id", "nodeKey", "machineKey", "ipAddresses", "givenName", "createdAt")
        assert [[node[name] for name in kept] for node in after] == [
            [node[name] for name in kept] for node in before
        ]
        assert await client.fetch_server_key() == client.server_key
        assert (await client.register())["MachineAuthorized"] is True
    assert await second.stop(signal.SIGTERM) == 0


async def test_a_second_server_on_the_same_data_is_refused(
    serve: Serve, headscale: Headscale, settings: LocalSettings
) -> None:
    """In words, without a traceback, and the first goes on as if nothing had been."""
    first = await serve()
    second = await headscale("serve")
    assert second.code == 1
    assert "is in use by another headscale process: stop that one first" in second.err
    assert "Traceback" not in second.err
    assert (await headscale("health")) == Ran(0, "ok\n", "")
    assert await first.stop(signal.SIGINT) == 0


async def test_a_taken_port_is_said(serve: Serve, headscale: Headscale, settings: LocalSettings) -> None:
    """And what was started is undone: the socket and the lock of the other data are free again."""
    await serve()
    other = str(settings.data / "other")
    variables = {"HEADSCALE_DATA_DIR": other, "HEADSCALE_UNIX_SOCKET": f"{other}/s.sock"}
    second = await headscale("serve", **variables)
    assert second.code == 1
    assert re.search(r"Error: cannot listen on 127\.0\.0\.1:\d+/(tcp|udp): ", second.err)
    assert "Traceback" not in second.err
    assert not Path(other, "s.sock").exists()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("HEADSCALE_DATA_DIR", "/dev/null/data", "data_dir: cannot make /dev/null/data"),
        ("HEADSCALE_NOISE_PRIVATE_KEY_PATH", "/dev/null", "/dev/null: not a private key"),
        ("HEADSCALE_UNIX_SOCKET", "/tmp/" + "x" * 120, "unix_socket: "),
        ("HEADSCALE_LISTEN_ADDR", "nonsense", "listen_addr: 'nonsense' is not host:port"),
    ],
)
async def test_what_keeps_a_server_from_starting_is_one_message(
    headscale: Headscale, variable: str, value: str, message: str
) -> None:
    ran = await headscale("serve", **{variable: value})
    assert ran.code == 1
    assert message in ran.err
    assert "Traceback" not in ran.err


async def test_verbs_round_trip(server: InProcessServer) -> None:
    """Users, keys and nodes: made, listed, changed, ended, deleted. (In this process, because it is quicker.)"""

    async def asked(*words: str) -> Any:
        ran = await headscale_inside(server.settings, *words, "-o", "json")
        assert (ran.code, ran.err) == (0, ""), words
        return ran.document

    assert (await asked("users", "create", "alice", "-d", "Alice", "-e", "a@example.com"))["id"] == "1"
    assert (await asked("users", "rename", "-n", "alice", "-r", "alicia"))["name"] == "alicia"
    assert [user["email"] for user in await asked("users", "list", "-n", "alicia")] == ["a@example.com"]
    key = await asked("preauthkeys", "create", "-u", "1", "--reusable", "--ephemeral", "-e", "30d")
    tagged = await asked("preauthkeys", "create", "--tags", "tag:a,tag:b", "--tags", "tag:c")
    assert tagged["aclTags"] == ["tag:a", "tag:b", "tag:c"]
    async with FakeClient(server.url, hostname="one") as client:
        await registered(client, key["key"])
        assert (await asked("nodes", "rename", "-i", "1", "two"))["givenName"] == "two"
        header, row = (await headscale_inside(server.settings, "nodes", "list")).out.splitlines()
        assert header.split()[:5] == ["ID", "Hostname", "Name", "MachineKey", "NodeKey"]
        assert row.split()[3:5] == [client.machine_key[:15], client.node_key[:18]]
        assert (await asked("nodes", "expire", "-i", "1"))["expiry"] is not None
        assert (await asked("nodes", "expire", "-i", "1", "--disable"))["expiry"] is None
        later = await asked("nodes", "expire", "-i", "1", "-e", "2100-01-01T00:00:00Z")
        assert later["expiry"] == "2100-01-01T00:00:00Z"
    assert [node["givenName"] for node in await asked("nodes", "ls", "-u", "alicia")] == ["two"]
    assert (await asked("preauthkeys", "expire", "-i", "1")) == {}
    listed = (await asked("preauthkeys", "list"))[0]
    assert (listed["key"][-4:], listed["reusable"], listed["ephemeral"]) == ("-***", True, True)
    assert (await asked("nodes", "delete", "-i", "1", "--force")) == {}
    login = "hskey-authreq-" + "0" * 24
    made = await asked("debug", "create-node", "--name", "r", "-u", "alicia", "-k", login, "-r", "10.0.0.0/8")
    assert (made["id"], made["availableRoutes"]) == ("0", ["10.0.0.0/8"])
    made = await asked("auth", "register", "--auth-id", login, "-u", "alicia")
    routed = await asked("nodes", "approve-routes", "-i", made["id"], "-r", "10.0.0.0/8,192.0.2.0/24")
    assert routed["approvedRoutes"] == ["10.0.0.0/8", "192.0.2.0/24"]
    assert [node["id"] for node in await asked("nodes", "routes", "-i", made["id"])] == [made["id"]]
    assert (await asked("nodes", "approve-routes", "-i", made["id"], "-r", ""))["approvedRoutes"] == []
    assert [node["id"] for node in await asked("nodes", "list-routes")] == [made["id"]]
    assert (await asked("nodes", "backfillips", "--force")) == {"changes": []}
    assert (await asked("nodes", "delete", "-i", made["id"], "--force")) == {}
    assert (await asked("gen", "private-key"))["private_key"].startswith("privkey:")
    for word in ("apikeys", "api"):
        assert (await asked(word, "create", "-e", "30d")).startswith("hskey-api-")
    first, second = await asked("apikey", "ls")
    assert (await asked("apikeys", "revoke", "-p", first["prefix"])) == {}
    assert (await asked("apikeys", "list"))[0]["expiration"] < first["expiration"]
    assert (await asked("apikeys", "remove", "-i", second["id"])) == {}
    assert (await asked("apikeys", "delete", "--prefix", first["prefix"])) == {}
    assert (await asked("apikeys", "list")) == []
    for number in ("1", "2"):
        assert (await asked("preauthkeys", "delete", "-i", number)) == {}
    assert (await asked("users", "destroy", "-n", "alicia", "--force")) == {}
    assert [await asked(noun, "list") for noun in ("users", "preauthkeys", "nodes")] == [[], [], []]


async def test_oauth_clients_are_made_listed_and_deleted(headscale: Headscale, serve: Serve) -> None:
    """By every name of the noun; the secret is printed once, and errors are the server's words."""
    await serve()

    async def asked(*words: str) -> Any:
        done = await headscale(*words, "-o", "json")
        assert done.code == 0, done.err
        return done.document

    plain = await headscale(
        "oauth-clients", "create", "-s", "auth_keys", "-s", "dns:read", "-t", "tag:ci", "-d", "CI"
    )
    assert re.fullmatch(r"tskey-client-k[0-9a-f]{11}-[0-9a-f]{64}\n", plain.out)
    made = await asked("oauth-clients", "new", "--scope", "all")
    assert (made["scopes"], made["keyType"], made["id"]) == (["all"], "client", made["key"].split("-")[2])
    for word in ("oauth-client", "oauthclients", "oauthclient", "oauth"):
        first, second = await asked(word, "list")
        assert (first["scopes"], first["tags"]) == (["auth_keys", "dns:read"], ["tag:ci"])
        assert (first["description"], second["id"], "key" in first) == ("CI", made["id"], False)
    table = (await headscale("oauth", "list")).out
    assert all(word in table for word in ("ID", "Scopes", first["id"], "tag:ci", "dns:read"))
    assert plain.out.strip().rpartition("-")[2] not in table
    assert (await asked("oauth", "delete", "--id", first["id"])) == {}
    assert (await asked("oauth", "del", "-i", second["id"])) == {}
    assert (await asked("oauth", "list")) == []
    for words, told in (
        (("delete", "-i", made["id"]), "no OAuth client has the id"),
        (("delete", "-i", "1"), "headscale preauthkeys delete"),
        (("create", "-s", "auth_keys"), "needs tags"),
        (("create",), "Missing option"),
    ):
        done = await headscale("oauth", *words)
        assert (done.code, done.out) == (1, "")
        assert told in done.err


async def test_people_get_words_and_tables(server: InProcessServer, headscale: Headscale) -> None:
    """Results on stdout, questions and errors on stderr, and an exit code."""
    at = ProcessServer(server.settings).variables
    assert (await headscale("users", "create", "alice", **at)).out == "User created: alice (ID 1)\n"
    listed, kept, refused, unknown = await asyncio.gather(
        headscale("users", "list", **at),
        headscale("users", "destroy", "-i", "1", typed="n\n", **at),
        headscale("users", "create", "alice", **at),
        headscale("nodes", "delete", "-i", "7", "-o", "json", "--force", **at),
    )
    heading, row = listed.out.splitlines()
    assert heading.split() == ["ID", "Name", "Username", "Email", "Role", "Created"]
    assert row.split()[:2] == ["1", "alice"]
    assert (kept.code, kept.out) == (0, "User not destroyed\n")
    assert "Delete user alice (ID 1)" in kept.err
    assert refused == Ran(1, "", "Error: a user named 'alice' exists already\n")
    assert (unknown.code, unknown.out) == (1, "")
    assert json.loads(unknown.err) == {"error": "no node has the id 7"}


async def test_without_a_server_a_verb_says_so(headscale: Headscale, settings: LocalSettings) -> None:
    ran = await headscale("users", "list", HEADSCALE_CLI_TIMEOUT="200ms")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"Error: no server answers at {settings.socket}: start it with `headscale serve`, or name its "
        "configuration with -c\n"
    )


async def test_json_logs_have_stdout_to_themselves(
    settings: LocalSettings, tmp_path: Path, headscale: Headscale
) -> None:
    """As log collectors read them: every line an object."""
    given = {**ProcessServer(settings).variables, "HEADSCALE_LOG_FORMAT": "json"}
    async with started("serve", given=given, folder=tmp_path) as process:
        assert (await headscale("health", HEADSCALE_CLI_TIMEOUT="15s")).code == 0
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOP_S):
            out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert [json.loads(line)["message"] for line in out.splitlines()][-1] == "stopped"
