"""Pre-auth keys: who is let in, who is not, and what the refused user reads."""

from datetime import timedelta

from harness.clients.base import Ability, Client
from harness.conditions import needs_login, no_peer
from harness.servers.base import AuthKey, only_these
from harness.tailnet import Tailnet, gather
from harness.wait import Budget, until_it_holds


async def refused(tailnet: Tailnet, client: Client, key_text: str, *words: str) -> None:
    """The client is not let in with this key, its user reads these words, and it stays out."""
    result = await client.up(tailnet.server.url, auth_key=key_text)
    assert not result.ok, f"{client.name} was let in"
    for word in words:
        assert word in result.message, result.message
    await until_it_holds(client, needs_login(), Budget.SYNC)


async def others_join(tailnet: Tailnet, key: AuthKey) -> None:
    """New machines are let in with a good key.

    Not the refused ones: those go on trying the key that they have, and a late refusal of it would end the next
    `tailscale up` with the old complaint (seen with 1.92.5).
    """
    others = await tailnet.each(tailnet.releases, tailnet.client)
    await tailnet.each(others, lambda client: tailnet.log_in(client, key))


async def test_a_single_use_key_lets_one_machine_in(tailnet: Tailnet) -> None:
    """The first machine joins, one of each release after it is told that the key was used."""
    key = await tailnet.auth_key("alice")
    first = await tailnet.client(tailnet.releases[0], name="first")
    await tailnet.log_in(first, key)
    others = await tailnet.each(tailnet.releases, tailnet.client)
    await tailnet.each(others, lambda client: refused(tailnet, client, key.text, "one use", "used already"))
    assert len(await tailnet.server.nodes()) == 1


async def test_a_reusable_key_lets_every_machine_in(tailnet: Tailnet) -> None:
    """Machines of all releases join with one key and reach each other."""
    key = await tailnet.auth_key("alice", reusable=True)
    clients = await tailnet.each(tailnet.releases, tailnet.client)
    await tailnet.each(clients, lambda client: tailnet.log_in(client, key))
    await tailnet.meshed(clients)
    await tailnet.reach(clients)


async def test_an_expired_key_lets_nobody_in(tailnet: Tailnet) -> None:
    """A key that has ended is refused by name, whether time or an administrator ended it; a good one is not."""
    ended, expired, good = await gather(
        tailnet.auth_key("alice", reusable=True),
        tailnet.auth_key("alice", reusable=True, lifetime=timedelta(seconds=-1)),
        tailnet.auth_key("alice", reusable=True),
    )
    await tailnet.server.expire_key(ended.id)
    clients = await tailnet.each(tailnet.releases, tailnet.client)
    await tailnet.each(clients, lambda client: refused(tailnet, client, ended.text, "has expired"))
    await tailnet.each(clients, lambda client: refused(tailnet, client, expired.text, "has expired"))
    assert await tailnet.server.nodes() == []
    await others_join(tailnet, good)


async def test_a_text_that_is_no_key_is_refused(tailnet: Tailnet) -> None:
    """A mistyped key and no key at all: the user is told, and a good key still works for others."""
    good = await tailnet.auth_key("alice", reusable=True)
    wrong = good.text[:-4] + ("0000" if not good.text.endswith("0000") else "1111")
    clients = await tailnet.each(tailnet.releases, tailnet.client)
    await tailnet.each(clients, lambda client: refused(tailnet, client, wrong, "invalid pre-auth key"))
    await others_join(tailnet, good)


async def test_an_ephemeral_key_makes_nodes_that_go_with_their_machine(tailnet: Tailnet) -> None:
    """A client that joined with an ephemeral key disappears for everyone when it logs out."""
    stays = await tailnet.join("alice", name="stays")
    clients = await tailnet.join_each("alice", able=Ability.LOGOUT, ephemeral=True)
    names = await tailnet.each(clients, tailnet.given_name)
    await tailnet.meshed([stays, *clients])
    await tailnet.each(clients, lambda client: client.logout())
    await tailnet.until_nodes(only_these({"stays"}))
    for name in names:
        await stays.until(no_peer(name), Budget.SYNC)
