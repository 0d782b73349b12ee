"""Taildrop: files between the devices of one user, and no others.

Clients know capabilities that let others in as well, but as the hosted control plane's, our policy language does not
give them (a recording; vendor's answer in tailscale/tailscale issue 14968).
"""

import itertools

from harness.clients.base import Ability, Client
from harness.plugin import MakeTailnet
from harness.sharing import fetch, holds, send, until_targets
from harness.tailnet import Tailnet


async def test_files_go_between_devices_of_one_user(tailnet: Tailnet) -> None:
    """Every pair both ways, by content."""
    clients = await tailnet.join_each(able=Ability.PREFS)
    clients.append(await tailnet.join("alice", name="laptop"))
    await tailnet.meshed(clients)
    for client in clients:
        await until_targets(client, [other for other in clients if other is not client])
    for sender, target in itertools.permutations(clients, 2):
        await arrives(sender, target)


async def test_nothing_goes_to_other_users_and_tagged_devices(tailnet: Tailnet) -> None:
    """They are not offered, a command that names them is refused, and nothing arrives; nor back."""
    clients = await tailnet.join_each(able=Ability.PREFS)
    own = await tailnet.join("alice", name="own")
    strangers = [
        await tailnet.join("bob", name="bobs"),
        await tailnet.join("alice", name="server", tags=["tag:server"]),
    ]
    await tailnet.meshed([*clients, own, *strangers])
    for client in clients:
        await until_targets(client, [other for other in (*clients, own) if other is not client])
        for stranger in strangers:
            await is_refused(client, stranger)
            await is_refused(stranger, client)
        await arrives(client, own)
    for stranger in strangers:
        await until_targets(stranger, [])


async def test_taildrop_may_be_off(make_tailnet: MakeTailnet) -> None:
    """For everybody, with the client's own words."""
    tailnet = await make_tailnet(config={"taildrop.enabled": False})
    clients = await tailnet.join_each(able=Ability.PREFS)
    clients.append(await tailnet.join("alice", name="laptop"))
    await tailnet.meshed(clients)
    for sender, target in itertools.permutations(clients, 2):
        listed = await sender.cli("file", "cp", "--targets")
        assert not listed.ok
        assert "file sharing not enabled" in listed.message
        await is_refused(sender, target)


async def arrives(sender: Client, target: Client) -> None:
    """A file of the sender's waits for the target's user, and nothing else does."""
    sent = await send(sender, target)
    assert sent.result.ok, sent.result.message
    assert holds(target, sent)
    assert await fetch(target) == {sent.name: sent.content}


async def is_refused(sender: Client, target: Client) -> None:
    """The sender is told no, and the target has nothing of it."""
    sent = await send(sender, target)
    assert not sent.result.ok, f"{sender.name} sent to {target.name}"
    assert not holds(target, sent)
