"""get-authkey, of Tailscale's own repository: an OAuth client's secret for a pre-auth key."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from harness.provision import Provisioner
from harness.servers.inprocess import InProcessServer
from harness.versions import RELEASES
from tests.integration.doors import Door
from tests.integration.fakes import Tailnet, registered
from tests.thirdparty.conftest import built
from tests.thirdparty.programs import Program, Ran

NEWEST = next(release for release in reversed(RELEASES) if release.kind == "go")
POLICY = '{"tagOwners": {"tag:ci": [], "tag:web": ["tag:ci"], "tag:other": []}}'

GetAuthkey = Callable[..., Awaitable[Ran]]


@pytest.fixture
async def get_authkey(
    provisioner: Provisioner, program: Callable[[Path], Program], server: InProcessServer, admin: Door
) -> GetAuthkey:
    """Run it with the secret of a client that has tag:ci."""
    path = await built(lambda: provisioner.command(NEWEST, "get-authkey"))
    assert (await admin("PUT", "policy", {"policy": POLICY}))[0] == 200
    asked = {"keyType": "client", "scopes": ["auth_keys"], "tags": ["tag:ci"]}
    client = (await admin.v2("POST", "tailnet/-/keys", asked))[1]
    run = program(path)

    async def call(*words: str) -> Ran:
        login = {"TS_API_CLIENT_ID": client["id"], "TS_API_CLIENT_SECRET": client["key"]}
        return await run(*words, TS_BASE_URL=server.url, **login)

    return call


async def test_a_device_joins_with_the_key(tailnet: Tailnet, get_authkey: GetAuthkey) -> None:
    """As the tags', reusable and ephemeral as asked for."""
    done = await get_authkey("--reusable", "--ephemeral", "--tags=tag:ci,tag:web")
    assert (done.code, done.err) == (0, "")
    for name in ("one", "two"):
        device = await tailnet.client(name)
        await registered(device, done.out.strip())
        node = tailnet.node_of(device)
        assert (node.tags, node.ephemeral) == (("tag:ci", "tag:web"), True)


async def test_tags_of_others_are_refused(get_authkey: GetAuthkey) -> None:
    """In words."""
    done = await get_authkey("--tags=tag:other")
    assert (done.code, done.out) == (1, "")
    assert "tag:other: the access token has no such tag" in done.err
