"""The `headscale` command as a newcomer runs it: a server by environment alone, and the verbs against it."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.clients.fake import FakeClient
from harness.servers.inprocess import InProcessServer
from harness.servers.local import LocalSettings, local_settings, remove_data
from harness.servers.process import ProcessServer
from headscale.cli.main import root
from tests.integration.fakes import registered

READY = b"Ctrl-C stops the server; started again, it finds everything again.\n"
START_S = 20.0
# What a person at a terminal waits for.
STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Ran:
    """A command's exit code and what it printed."""

    code: int | None
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed for machines."""
        return json.loads(self.out)


@dataclass(slots=True)
class Serving:
    """A `headscale serve` that said that it is ready."""

    process: asyncio.subprocess.Process
    welcome: str

    async def stop(self, number: int) -> int:
        """Signal it; returns its exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(STOP_S):
            return await self.process.wait()


Headscale = Callable[..., Awaitable[Ran]]
Serve = Callable[[], Awaitable[Serving]]


@pytest.fixture
async def settings() -> AsyncIterator[LocalSettings]:
    made = local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5))
    yield made
    remove_data(made)


@pytest.fixture
def environment(settings: LocalSettings) -> dict[str, str]:
    return {**os.environ, **ProcessServer(settings).variables, "COLUMNS": "200"}


@pytest.fixture
def headscale(environment: dict[str, str], tmp_path: Path) -> Headscale:
    """Run the command to its end."""

    async def ran(*words: str, typed: str | None = None, **variables: str) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headscale.cli.main", *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**environment, **variables},
            cwd=tmp_path,
        )
        async with asyncio.timeout(START_S):
            out, err = await process.communicate(typed.encode() if typed is not None else None)
        return Ran(process.returncode, out.decode(), err.decode())

    return ran


@pytest.fixture
async def serve(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Serve]:
    """Start a server; those that still run at the end are killed."""
    async with AsyncExitStack() as stack:

        async def served() -> Serving:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "headscale.cli.main", "serve"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
                cwd=tmp_path,
            )
            stack.push_async_callback(_end, process)
            assert process.stdout is not None
            async with asyncio.timeout(START_S):
                welcome = await process.stdout.readuntil(READY)
            return Serving(process, welcome.decode())

        yield served


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


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
    """And what was begun is undone: the socket and the lock of the other data are free again."""
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
    environment = ProcessServer(server.settings).variables

    async def asked(*words: str) -> Any:
        ran = await asyncio.to_thread(CliRunner().invoke, root, [*words, "-o", "json"], env=environment)
        assert (ran.exit_code, ran.stderr) == (0, ""), words
        return json.loads(ran.stdout)

    assert (await asked("users", "create", "alice", "-d", "Alice", "-e", "a@example.com"))["id"] == "1"
    assert (await asked("users", "rename", "-n", "alice", "-r", "alicia"))["name"] == "alicia"
    assert [user["email"] for user in await asked("users", "list", "-n", "alicia")] == ["a@example.com"]
    key = await asked("preauthkeys", "create", "-u", "1", "--reusable", "--ephemeral", "-e", "30d")
    tagged = await asked("preauthkeys", "create", "--tags", "tag:a,tag:b", "--tags", "tag:c")
    assert tagged["aclTags"] == ["tag:a", "tag:b", "tag:c"]
    async with FakeClient(server.url, hostname="one") as client:
        await registered(client, key["key"])
        assert (await asked("nodes", "rename", "-i", "1", "two"))["givenName"] == "two"
        ran = await asyncio.to_thread(CliRunner().invoke, root, ["nodes", "list"], env=environment)
        header, row = ran.stdout.splitlines()
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


async def test_a_configuration_is_checked_without_a_trace(
    headscale: Headscale, settings: LocalSettings, tmp_path: Path
) -> None:
    """Good or bad, nothing is made."""
    good = await headscale("configtest")
    assert (good.code, good.out) == (0, "the defaults: ok\n")
    bad = await headscale("configtest", HEADSCALE_LOG_LEVEL="loud", HEADSCALE_OIDC_ISSUER="p")
    assert bad.code == 1
    assert "log.level: 'loud' is none of trace, debug, info, warn, error" in bad.err
    later = await headscale(
        "configtest", HEADSCALE_DISABLE_CHECK_UPDATES="true", HEADSCALE_DEBUG_DEADLOCK="1"
    )
    assert "without effect in this version: HEADSCALE_DEBUG_DEADLOCK, disable_check_updates" in later.out
    assert list(settings.data.iterdir()) == list(tmp_path.iterdir()) == []


async def test_the_configuration_in_force_is_dumped_without_secrets(
    headscale: Headscale, settings: LocalSettings, tmp_path: Path
) -> None:
    """As YAML that a file may hold, as JSON for scripts, or into a file that is its owner's alone."""
    key = "planted-api-key"
    ran = await headscale("dumpConfig", HEADSCALE_CLI_API_KEY=key)
    assert (ran.code, ran.err) == (0, "")
    assert f"server_url: {settings.url}\n" in ran.out
    document = (await headscale("dumpConfig", "-o", "json", HEADSCALE_CLI_API_KEY=key)).document
    assert document["unix_socket"] == str(settings.socket)
    file = tmp_path / "dump.yaml"
    await headscale("dumpConfig", "--to", str(file), HEADSCALE_CLI_API_KEY=key)
    assert file.read_text() == ran.out
    assert file.stat().st_mode & 0o777 == 0o600
    assert key not in ran.out + str(document)


async def test_json_logs_have_stdout_to_themselves(
    environment: dict[str, str], tmp_path: Path, headscale: Headscale
) -> None:
    """As log collectors read them: every line an object."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headscale.cli.main", "serve"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "HEADSCALE_LOG_FORMAT": "json"},
        cwd=tmp_path,
    )
    try:
        assert (await headscale("health", HEADSCALE_CLI_TIMEOUT="15s")).code == 0
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOP_S):
            out, err = await process.communicate()
    finally:
        await _end(process)
    assert (process.returncode, err) == (0, b"")
    assert [json.loads(line)["message"] for line in out.splitlines()][-1] == "stopped"


POLICY = '{"acls": []} // nobody\n'
BROKEN = '{\n  "acls": [{"action": "accept", "src": ["group:x"], "dst": ["*:*"]}]\n}\n'


@pytest.fixture
def acl(tmp_path: Path) -> Path:
    """A policy file that is good."""
    path = tmp_path / "acl.hujson"
    path.write_text(POLICY)
    return path


async def test_a_policy_is_set_checked_and_read_back(serve: Serve, headscale: Headscale, acl: Path) -> None:
    """As it stands in the file, and for machines as the API has it."""
    await serve()
    none = await headscale("policy", "get")
    assert (none.code, none.out) == (1, "")
    assert none.err.startswith("Error: acl policy not found")
    done = await headscale("policy", "set", "--file", str(acl))
    assert (done.code, done.out) == (0, "Policy updated.\n")
    assert (await headscale("policy", "show")).out == POLICY
    assert (await headscale("policy", "get", "-o", "json")).document["policy"] == POLICY
    acl.write_text("{}")
    assert (await headscale("policy", "set", "--file", str(acl))).code == 0
    assert (await headscale("policy", "get")).out == "{}\n"
    assert (await headscale("policy", "get", "--id", "1")).out == POLICY
    assert (await headscale("policy", "get", "--id", "1", "-o", "json")).document["id"] == "1"
    unknown = await headscale("policy", "get", "--id", "9")
    assert (unknown.code, unknown.err) == (1, "Error: no policy has the id 9\n")
    acl.write_text(POLICY)
    checked = await headscale("policy", "check", str(acl))
    assert checked.out == "Policy is valid: 0 rules, 0 tests passed.\n"
    assert (await headscale("policy", "check", "-f", str(acl), "-o", "json")).document == {
        "valid": True,
        "tested": True,
        "rules": 0,
        "tests": 0,
    }


async def test_a_failing_test_is_told_with_its_file_and_line(
    serve: Serve, headscale: Headscale, acl: Path
) -> None:
    """It is the server that finds it."""
    await serve()
    await headscale("users", "create", "alice")
    acl.write_text('{\n  "acls": [],\n  "tests": [{"src": "100.64.0.1", "accept": ["100.64.0.2:22"]}]\n}')
    for verb in ("set", "check"):
        failed = await headscale("policy", verb, "--file", str(acl))
        assert (failed.code, failed.out) == (1, "")
        assert re.match(rf"(Error: )?{acl}:3:\d+: tests\[0\]", failed.err)


async def test_a_check_does_without_a_server(headscale: Headscale, acl: Path) -> None:
    """It does not wait for one, and says what it did not do."""
    checked = await headscale("policy", "check", str(acl), HEADSCALE_CLI_TIMEOUT="60s")
    assert checked.code == 0
    assert checked.out.startswith("Policy is well formed: 0 rules. It has no tests; no server answers at ")
    acl.write_text(BROKEN)
    broken = await headscale("policy", "check", "--file", str(acl))
    assert (broken.code, broken.out) == (1, "")
    assert re.match(rf"{acl}:2:\d+: acls\[0\]\.src\[0\]: .*group:x", broken.err)


async def test_what_is_no_use_is_said(headscale: Headscale, acl: Path) -> None:
    """No file, two files, a file that is not there, and the peer's way around the server."""
    for words in (("check",), ("check", str(acl), "-f", str(acl)), ("set",)):
        assert (await headscale("policy", *words)).code == 1
    assert "cannot be read: No such file" in (await headscale("policy", "check", "none")).err
    around = await headscale("policy", "get", "--bypass-server-and-access-database-directly")
    assert (around.code, around.out) == (1, "")
    assert "only a running server may change its database" in around.err


async def test_a_hangup_has_the_policy_file_read_again(
    environment: dict[str, str], tmp_path: Path, headscale: Headscale, acl: Path
) -> None:
    """A good one counts; a broken one is logged with its line and does not."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headscale.cli.main", "serve"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "HEADSCALE_POLICY_PATH": str(acl)},
        cwd=tmp_path,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(START_S):
            await process.stdout.readuntil(READY)
        acl.write_text(BROKEN)
        process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(STOP_S):
            await process.stderr.readuntil(f"{acl}:2:".encode())
        assert (await headscale("policy", "get")).out == POLICY
        acl.write_text("{}\n")
        process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(STOP_S):
            await process.stderr.readuntil(b"policy read file=")
        assert (await headscale("policy", "get")).out == "{}\n"
        refused = await headscale("policy", "set", "-f", str(acl))
        assert refused.err == "Error: update is disabled for modes other than 'database'\n"
    finally:
        await _end(process)


async def test_a_broken_policy_file_is_found_by_configtest_and_serve_alike(
    headscale: Headscale, acl: Path
) -> None:
    acl.write_text(BROKEN)
    for verb in ("configtest", "serve"):
        said = await headscale(verb, HEADSCALE_POLICY_PATH=str(acl))
        assert said.code == 1
        assert re.search(rf"^Error: {acl}:2:\d+: acls\[0\]\.src\[0\]: ", said.err, re.MULTILINE)


@pytest.mark.parametrize(
    ("variable", "content", "complaint"),
    [
        ("HEADSCALE_DERP_PATHS", "regions: [", r"derp\.paths: {path}: not a DERP map: "),
        (
            "HEADSCALE_DNS_EXTRA_RECORDS_PATH",
            "[\n{]",
            r"dns\.extra_records_path: {path}:2:2: JSON is malformed",
        ),
        ("HEADSCALE_DNS_EXTRA_RECORDS_PATH", None, r"dns\.extra_records_path: there is no file {path}"),
    ],
)
async def test_a_broken_source_is_found_by_configtest_and_serve_alike(
    headscale: Headscale, tmp_path: Path, variable: str, content: str | None, complaint: str
) -> None:
    """The same words, and nothing is started."""
    path = tmp_path / "source"
    if content is not None:
        path.write_text(content)
    for verb in ("configtest", "serve"):
        said = await headscale(verb, **{variable: str(path)})
        assert said.code == 1
        assert re.search(complaint.format(path=path), said.err)


async def test_health_names_a_stored_policy_that_cannot_be_used(
    serve: Serve, headscale: Headscale, settings: LocalSettings, acl: Path
) -> None:
    """To people and machines alike, until another one is set."""
    serving = await serve()
    await headscale("policy", "set", "-f", str(acl))
    assert await serving.stop(signal.SIGTERM) == 0
    with sqlite3.connect(settings.database) as raw:
        raw.execute("UPDATE policies SET data = 'broken'")
    await serve()
    assert (await headscale("health")).out.startswith("running, but policy 1, which was set last, cannot be")
    assert "nobody may reach anybody" in (await headscale("health", "-o", "json")).document["policyProblem"]
    assert (await headscale("policy", "set", "-f", str(acl))).code == 0
    assert (await headscale("health")).out == "ok\n"


OLD = """\
# Of the office.
data_dir: {data}
acl_policy_path: {acl} # ours
oidc:
  strip_email_domain: true
nonsense: 1
"""


async def test_an_older_configuration_is_rewritten(headscale: Headscale, acl: Path, tmp_path: Path) -> None:
    """First to look at, then for good; what only a person can decide is named, and what was there is kept."""
    file = tmp_path / "old.yaml"
    old = OLD.format(data=tmp_path / "data", acl=acl)
    file.write_text(old)
    file.chmod(0o640)
    assert "acl_policy_path is gone: use policy.path" in (await headscale("configtest", "-c", str(file))).err
    shown = await headscale("config", "migrate", str(file))
    assert shown.code == 0
    assert f"policy:\n  path: {acl} # ours\n" in shown.out
    assert "acl_policy_path: is now policy.path" in shown.err
    assert f"still to do: {file}:5: unknown key nonsense" in shown.err
    assert file.read_text() == old

    written = (await headscale("config", "migrate", "-c", str(file), "--write", "-o", "json")).document
    assert [change["key"] for change in written["changes"]] == ["acl_policy_path", "oidc.strip_email_domain"]
    assert file.read_text() == written["text"] == shown.out
    assert (file.stat().st_mode & 0o777, (tmp_path / "old.yaml.before").read_text()) == (0o640, old)
    file.write_text(written["text"].replace("nonsense: 1\n", ""))
    assert (await headscale("configtest", "-c", str(file))).code == 0
    assert "nothing to change" in (await headscale("config", "migrate", str(file))).out
