"""OAuth secrets on real clients: `tailscale up --auth-key=tskey-client-…` gets itself a pre-auth key and joins."""

import asyncio

from harness.clients.base import Ability, Client, CliResult
from harness.conditions import needs_approval, needs_login, no_peer, running, tagged
from harness.logins import wishes
from harness.policies import acl, policy
from harness.servers.base import only_these
from harness.tailnet import Tailnet
from harness.wait import Budget, until_it_holds

CI, WEB, OTHER = "tag:ci", "tag:web", "tag:other"
POLICY = policy(acl("*", "*:*"), tag_owners={CI: [], WEB: [CI], OTHER: []})
STAYS = "ephemeral=false&preauthorized=true"


async def a_secret(tailnet: Tailnet) -> str:
    """Of a client of the tailnet, with the policy, that makes keys of tag:ci."""
    await tailnet.server.set_policy(POLICY)
    return (await tailnet.server.create_oauth_client(scopes=["auth_keys"], tags=[CI])).text


async def clients_of(tailnet: Tailnet) -> list[Client]:
    """One of each release that has a command line."""
    return await tailnet.each(tailnet.able(Ability.PREFS), tailnet.client)


async def up(tailnet: Tailnet, client: Client, secret: str, *tags: str, attributes: str = STAYS) -> CliResult:
    """`tailscale up` with the secret, at this server's token endpoint."""
    text = f"{secret}?{attributes}&baseURL={tailnet.server.url}"
    return await client.up(tailnet.server.url, auth_key=text, extra=[wishes(tags)])


async def test_a_device_joins_by_a_secret(tailnet: Tailnet) -> None:
    """As its tags', those that the client has or that its tags own; several with one secret, which then reach each
    other."""
    secret = await a_secret(tailnet)

    async def joins(client: Client) -> None:
        result = await up(tailnet, client, secret, CI, WEB)
        assert result.ok, result.message
        await client.until(running() & tagged([CI, WEB]), Budget.JOIN)
        assert (await tailnet.node_of(client)).tags == (CI, WEB)

    clients = await clients_of(tailnet)
    await tailnet.each(clients, joins)
    await tailnet.meshed(clients)
    await tailnet.reach(clients)


async def test_a_secret_gives_no_tags_of_others(tailnet: Tailnet) -> None:
    """The device's user reads why, it stays out, and the same secret lets it in with the tags that it has."""
    secret = await a_secret(tailnet)

    async def is_refused(client: Client, text: str, *tags: str, why: str) -> None:
        result = await up(tailnet, client, text, *tags)
        assert not result.ok
        assert why in result.message, result.message
        await until_it_holds(client, needs_login(), Budget.SYNC)

    async def goes_through(client: Client) -> None:
        wrong = secret[:-4] + ("0000" if not secret.endswith("0000") else "1111")
        await is_refused(client, secret, OTHER, why="tag:other: the access token has no such tag")
        await is_refused(client, wrong, CI, why="invalid_client")
        # The client's own words, or the server's about an empty one (seen with 1.92).
        await is_refused(client, secret, why="tag")
        assert await tailnet.server.nodes() == []

    clients = await clients_of(tailnet)
    await tailnet.each(clients, goes_through)
    for client in clients:
        assert (await up(tailnet, client, secret, CI)).ok
        await client.until(running() & tagged([CI]), Budget.JOIN)


async def test_devices_are_ephemeral_and_wait_for_approval_unless_the_secret_says_otherwise(
    tailnet: Tailnet,
) -> None:
    """What stands behind the secret is what the key is like; nothing means ephemeral, and approval where it asked."""
    secret = await a_secret(tailnet)
    await tailnet.server.set_device_approval(on=True)
    stays = await tailnet.client(tailnet.able(Ability.LOGOUT)[-1], name="stays")
    assert (await up(tailnet, stays, secret, CI)).ok
    await stays.until(running(), Budget.JOIN)
    passing = await tailnet.client(tailnet.able(Ability.LOGOUT)[-1], name="passing")
    waiting = asyncio.create_task(up(tailnet, passing, secret, CI, attributes="preauthorized=false"))
    await passing.until(needs_approval(), Budget.JOIN)
    await tailnet.server.authorize_node((await tailnet.node_of(passing)).id)
    assert (await waiting).ok
    await passing.until(running(), Budget.JOIN)
    await tailnet.meshed([stays, passing])
    await passing.logout()
    await tailnet.until_nodes(only_these({"stays"}))
    await stays.until(no_peer("passing"), Budget.SYNC)
    await stays.logout()
    await until_it_holds(stays, needs_login(), Budget.SYNC)
    assert [node.given_name for node in await tailnet.server.nodes()] == ["stays"]
