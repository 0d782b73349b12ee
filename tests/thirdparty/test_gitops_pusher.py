"""gitops-pusher, of Tailscale's own repository: a policy in a file is tested, and applied by its tag."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from harness.provision import Provisioner
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from harness.versions import RELEASES
from tests.integration.doors import Door
from tests.thirdparty.conftest import built
from tests.thirdparty.programs import Program, Ran

NEWEST = next(release for release in reversed(RELEASES) if release.kind == "go")
# As its formatter writes it: the tag of anything else is not the file's.
POLICY = '{\n\t// everybody\n\t"acls": [\n\t\t{"action": "accept", "src": ["*"], "dst": ["*:*"]},\n\t],\n}\n'
OTHER = POLICY.replace("everybody", "everybody, still")
FAILING = '{\n\t"acls": [],\n\t"tests": [{"src": "alice@", "accept": ["100.64.0.1:22"]}],\n}\n'

Pusher = Callable[..., Awaitable[Ran]]


@pytest.fixture
async def server() -> AsyncIterator[InProcessServer]:
    """With TLS, which is all that it speaks."""
    made = InProcessServer(local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5), with_tls=True))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def pusher(
    provisioner: Provisioner,
    program: Callable[[Path], Program],
    server: InProcessServer,
    admin: Door,
    tmp_path: Path,
) -> Pusher:
    """Run it with this policy in its file, as an OAuth client that may change policies."""
    path = await built(lambda: provisioner.command(NEWEST, "gitops-pusher"))
    assert (await admin("POST", "user", {"name": "alice"}))[0] == 200
    asked = {"keyType": "client", "scopes": ["policy_file"]}
    client = (await admin.v2("POST", "tailnet/-/keys", asked))[1]
    run = program(path)
    address = server.url.removeprefix("https://")

    async def push(verb: str, text: str, *flags: str, **login: str) -> Ran:
        (tmp_path / "policy.hujson").write_text(text)
        login = login or {"TS_OAUTH_ID": client["id"], "TS_OAUTH_SECRET": client["key"]}
        return await run(f"-api-server={address}", *flags, verb, folder=tmp_path, TS_TAILNET="-", **login)

    return push


async def in_force(admin: Door) -> str:
    return str((await admin("GET", "policy"))[1]["policy"])


async def test_a_policy_is_applied_once(pusher: Pusher, admin: Door, tmp_path: Path) -> None:
    """Byte for byte; the second time there is nothing to do. By an API key as well."""
    done = await pusher("apply", POLICY)
    assert (done.code, done.out) == (0, ""), done
    assert await in_force(admin) == POLICY
    again = await pusher("apply", POLICY)
    assert (again.code, "no update needed" in again.err) == (0, True)
    cached = json.loads((tmp_path / "version-cache.json").read_text())["PrevETag"]
    assert f"control: {cached}" in again.err
    key = (await admin("POST", "apikey", {}))[1]["apiKey"]
    assert (await pusher("apply", OTHER, TS_API_KEY=key)).code == 0
    assert await in_force(admin) == OTHER


async def test_a_policy_that_fails_its_tests_is_refused(pusher: Pusher, admin: Door) -> None:
    """By `test` and by `apply`, with what failed for whom; what was in force stays."""
    assert (await pusher("apply", POLICY)).code == 0
    for verb in ("test", "apply"):
        done = await pusher(verb, FAILING)
        assert done.code == 1, done
        assert "alice@" in done.out + done.err
        assert await in_force(admin) == POLICY
    assert (await pusher("test", OTHER)).code == 0
    assert await in_force(admin) == POLICY


async def test_a_change_by_somebody_else_is_noticed(pusher: Pusher, admin: Door) -> None:
    """And overwritten only where it may be."""
    assert (await pusher("apply", POLICY)).code == 0
    assert (await admin("PUT", "policy", {"policy": "{}"}))[0] == 200
    refused = await pusher("apply", OTHER, "-fail-on-manual-edits")
    assert (refused.code, "modified externally" in refused.out) == (1, True)
    assert await in_force(admin) == "{}"
    assert (await pusher("apply", OTHER)).code == 0
    assert await in_force(admin) == OTHER


async def test_a_client_without_the_scope_changes_nothing(pusher: Pusher, admin: Door) -> None:
    asked = {"keyType": "client", "scopes": ["policy_file:read"]}
    client = (await admin.v2("POST", "tailnet/-/keys", asked))[1]
    assert (await pusher("apply", POLICY)).code == 0
    done = await pusher("apply", OTHER, TS_OAUTH_ID=client["id"], TS_OAUTH_SECRET=client["key"])
    assert (done.code, "policy_file" in done.out) == (1, True), done
    assert await in_force(admin) == POLICY
