"""Names: what an administrator or a client changes is what the others resolve."""

from harness.clients.base import Ability, Client
from harness.conditions import no_peer, own_name, running, sees
from harness.reach import assert_reach
from harness.tailnet import Tailnet
from harness.wait import Budget


async def test_a_rename_is_seen_and_resolved_by_peers(tailnet: Tailnet) -> None:
    """An administrator renames a node: peers see the new name, reach it by that, and the old one is gone."""
    renamed, *others = await tailnet.join_each()
    others = others or [await tailnet.join("alice")]
    old = await tailnet.given_name(renamed)
    await tailnet.server.rename_node((await tailnet.node_of(renamed)).id, "printer")
    await tailnet.changes(others, sees(["printer"]) & no_peer(old), Budget.SYNC)
    await renamed.until(own_name("printer"), Budget.SYNC)
    await assert_reach({(other, renamed.tcp(by="name")): True for other in others})


async def test_a_name_that_an_administrator_gave_stays(tailnet: Tailnet) -> None:
    """Whatever its client calls itself afterwards, and after a restart of it; what the client says is still shown."""
    clients = await tailnet.join_each(able=Ability.PREFS)
    watcher = await tailnet.join("alice", name="watcher")

    async def is_named(client: Client) -> str:
        name = f"chosen-{client.release}".replace(".", "-")
        await tailnet.server.rename_node((await tailnet.node_of(client)).id, name)
        await client.until(own_name(name), Budget.SYNC)
        assert (await client.set(f"--hostname={client.name}.of@her's")).ok
        await client.restart()
        await client.until(running(), Budget.JOIN)
        return name

    names = await tailnet.each(clients, is_named)
    await watcher.until(sees(names), Budget.SYNC)
    listed = {node.given_name: node.hostname for node in await tailnet.server.nodes()}
    assert [listed[name] for name in names] == [f"{client.name}.of@her's" for client in clients]


async def test_two_machines_of_one_name_get_two_names(tailnet: Tailnet) -> None:
    """The second machine that calls itself `twin` becomes `twin-1`; the first keeps its name. There are always two."""
    clients = await tailnet.each((tailnet.releases[0], *tailnet.releases), tailnet.client)
    for client in clients:  # one after the other: the order decides
        await tailnet.log_in(client, await tailnet.auth_key("alice"), hostname="twin")
    names = [await tailnet.given_name(client) for client in clients]
    assert names == ["twin", *(f"twin-{number}" for number in range(1, len(clients)))]


async def test_a_client_that_renames_itself_is_followed(tailnet: Tailnet) -> None:
    """`tailscale set --hostname` changes the name that peers see, made into a proper label."""
    clients = await tailnet.join_each(able=Ability.PREFS)
    watcher = await tailnet.join("alice", name="watcher")

    async def rename(client: Client) -> str:
        name = f"Joe's {client.release} mini"
        assert (await client.set(f"--hostname={name}")).ok
        return f"joes-{client.release}-mini".replace(".", "-")

    await watcher.until(sees(await tailnet.each(clients, rename)), Budget.SYNC)
