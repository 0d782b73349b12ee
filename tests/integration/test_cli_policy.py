"""The `headscale` command and policies in files: set, checked, read again, and broken."""

import re
import signal
import sqlite3
from pathlib import Path

import pytest

from harness.servers.local import LocalSettings
from tests.integration.commands import Headscale, Serve

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


async def test_a_hangup_has_the_policy_file_read_again(serve: Serve, headscale: Headscale, acl: Path) -> None:
    """A good one counts; a broken one is logged with its line and does not."""
    serving = await serve(HEADSCALE_POLICY_PATH=str(acl))
    acl.write_text(BROKEN)
    serving.process.send_signal(signal.SIGHUP)
    await serving.logs(f"{acl}:2:")
    assert (await headscale("policy", "get")).out == POLICY
    acl.write_text("{}\n")
    serving.process.send_signal(signal.SIGHUP)
    await serving.logs("policy read file=")
    assert (await headscale("policy", "get")).out == "{}\n"
    refused = await headscale("policy", "set", "-f", str(acl))
    assert refused.err == "Error: update is disabled for modes other than 'database'\n"


async def test_a_broken_policy_file_is_found_by_configtest_and_serve_alike(
    headscale: Headscale, acl: Path
) -> None:
    acl.write_text(BROKEN)
    for verb in ("configtest", "serve"):
        said = await headscale(verb, HEADSCALE_POLICY_PATH=str(acl))
        assert said.code == 1
        assert re.search(rf"^Error: {acl}:2:\d+: acls\[0\]\.src\[0\]: ", said.err, re.MULTILINE)


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
