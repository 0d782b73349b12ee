"""Logging in without a key, over real sockets: the URL, the held request, the verdict; and device approval."""

import asyncio
import re
from urllib.parse import urlsplit

import aiohttp
import pytest

from harness.clients.fake import FakeClient
from harness.clients.netmap import Json
from headscale.login.pending import LOGINS_OF_ONE_MAX
from tests.integration.fakes import Enrolled, Join, Tailnet, registered, until

URL = re.compile(r"http://127\.0\.0\.1:\d+/register/(hskey-authreq-[0-9a-f]{24})")
PROMPTLY = 5.0


async def asked(client: FakeClient, **more: object) -> str:
    """The URL that a client without a key is given."""
    answer = await client.register(**more)
    assert (answer["Error"], answer["MachineAuthorized"], answer["NodeKeyExpired"]) == ("", False, False)
    assert URL.fullmatch(answer["AuthURL"])
    return str(answer["AuthURL"])


def following(client: FakeClient, url: str) -> "asyncio.Task[Json]":
    """The request that a client holds while its user is at the URL."""
    return asyncio.create_task(client.register(followup=url))


def id_of(url: str) -> str:
    return urlsplit(url).path.rpartition("/")[2]


async def let_in(tailnet: Tailnet, url: str, user: str = "alice") -> Json:
    return await tailnet.server.call("POST", "auth/register", {"authId": id_of(url), "user": user})


async def held(task: "asyncio.Task[Json]") -> None:
    """The request is not answered by itself."""
    await asyncio.sleep(0.1)
    assert not task.done()


async def test_a_login_waits_until_somebody_vouches(tailnet: Tailnet) -> None:
    client = await tailnet.client("laptop")
    url = await asked(client)
    waiting = following(client, url)
    await held(waiting)
    node = (await let_in(tailnet, url))["node"]
    answer = await asyncio.wait_for(waiting, PROMPTLY)
    assert (answer["MachineAuthorized"], answer["AuthURL"], answer["Login"]["LoginName"]) == (
        True,
        "",
        "alice",
    )
    assert (node["registerMethod"], node["givenName"], node["user"]["name"]) == (
        "REGISTER_METHOD_CLI",
        "laptop",
        "alice",
    )
    await Enrolled(client, int(node["id"])).stream()


async def test_the_page_shows_the_device_and_its_id(tailnet: Tailnet) -> None:
    url = await asked(await tailnet.client("laptop"))
    async with aiohttp.ClientSession() as http, http.get(url) as page:
        text = await page.text()
    assert (page.status, page.headers["X-Frame-Options"]) == (200, "DENY")
    assert "laptop" in text
    assert f"--auth-id {id_of(url)}" in text


async def test_a_client_that_was_away_when_it_was_let_in_is_in(tailnet: Tailnet) -> None:
    client = await tailnet.client()
    url = await asked(client)
    await let_in(tailnet, url)
    assert (await client.register(followup=url))["MachineAuthorized"] is True
    assert (await client.register())["MachineAuthorized"] is True


async def test_a_rejected_login_is_told_so_and_may_be_asked_again(tailnet: Tailnet) -> None:
    client = await tailnet.client()
    url = await asked(client)
    waiting = following(client, url)
    await held(waiting)
    await tailnet.server.call("POST", "auth/reject", {"authId": id_of(url)})
    assert "turned this login away" in (await asyncio.wait_for(waiting, PROMPTLY))["Error"]
    assert not tailnet.server.app.writer.snapshot.nodes
    assert await asked(client) != url


async def test_a_client_that_was_away_when_it_was_rejected_is_told_so_once(tailnet: Tailnet) -> None:
    """After that it is given another URL, as a client that held its request is."""
    client = await tailnet.client()
    url = await asked(client)
    await tailnet.server.call("POST", "auth/reject", {"authId": id_of(url)})
    thief = await tailnet.client("thief", machine_private=client.machine_private)
    assert await asked(thief, followup=url) != url
    assert "turned this login away" in (await client.register(followup=url))["Error"]
    assert await asked(client, followup=url) != url


async def test_a_login_that_is_not_waiting_any_more_gets_another_url(tailnet: Tailnet) -> None:
    """As after a restart of the server: the client shows the new one by itself."""
    client = await tailnet.client()
    url = await asked(client)
    again = await asked(client)
    assert await asked(client, followup=url) not in (url, again)


@pytest.mark.bar("A3")
async def test_nobody_else_can_wait_for_a_login(tailnet: Tailnet) -> None:
    """Not with another machine key, even with the node key: the answer is a URL of its own, not the owner's name."""
    client = await tailnet.client("victim")
    url = await asked(client)
    waiting = following(client, url)
    thieves = [
        await tailnet.client("thief", node_private=client.node_private),
        await tailnet.client("thief", machine_private=client.machine_private),
        await tailnet.client("thief"),
    ]
    for thief in thieves:
        assert await asked(thief, followup=url) != url
    await held(waiting)
    await let_in(tailnet, url)
    assert (await asyncio.wait_for(waiting, PROMPTLY))["MachineAuthorized"] is True
    assert [node.hostname for node in tailnet.server.app.writer.snapshot.nodes.values()] == ["victim"]


async def test_a_cancelled_request_does_not_end_the_login(tailnet: Tailnet) -> None:
    client = await tailnet.client()
    url = await asked(client)
    waiting = following(client, url)
    await held(waiting)
    waiting.cancel()
    await client.close()
    again = following(client, url)
    await held(again)
    await let_in(tailnet, url)
    assert (await asyncio.wait_for(again, PROMPTLY))["MachineAuthorized"] is True


async def test_two_administrators_let_one_device_in_once(tailnet: Tailnet) -> None:
    url = await asked(await tailnet.client())
    results = await asyncio.gather(
        *(let_in(tailnet, url, user) for user in ("alice", "bob")), return_exceptions=True
    )
    assert len(tailnet.server.app.writer.snapshot.nodes) == 1
    assert [isinstance(result, dict) for result in results].count(True) == 1


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"authId": "x", "user": "alice"}, "is not a login's id"),
        ({"authId": "hskey-authreq-" + "0" * 24, "user": "alice"}, "no login with this id is waiting"),
        ({"user": "alice"}, "is not a login's id"),
    ],
)
async def test_a_wrong_id_lets_nobody_in(tailnet: Tailnet, body: Json, refusal: str) -> None:
    with pytest.raises(Exception, match=refusal):
        await tailnet.server.call("POST", "auth/register", body)


async def test_a_wrong_user_lets_nobody_in_and_the_login_goes_on_waiting(tailnet: Tailnet) -> None:
    url = await asked(await tailnet.client())
    with pytest.raises(Exception, match="no user is named 'carol'"):
        await let_in(tailnet, url, "carol")
    with pytest.raises(Exception, match="needs an owner"):
        await tailnet.server.call("POST", "auth/approve", {"authId": id_of(url)})
    await let_in(tailnet, url)


async def test_a_flood_of_logins_is_bounded(tailnet: Tailnet) -> None:
    flood = [await tailnet.client(f"flood{number}") for number in range(LOGINS_OF_ONE_MAX + 8)]
    urls = [await asked(client) for client in flood]
    async with aiohttp.ClientSession() as http:
        statuses = [(await http.get(url)).status for url in urls]
    assert statuses == [404] * 8 + [200] * LOGINS_OF_ONE_MAX


async def test_a_new_key_is_the_same_node_and_the_old_poll_goes_on_until_then(
    tailnet: Tailnet, join: Join
) -> None:
    """`tailscale up --force-reauth`: peers see one node all along, online, whose key changes."""
    first, witness = await join("laptop"), await join("witness")
    stream, watching = await first.stream(), await witness.stream()
    old = first.client.rotate_node_key()
    url = await asked(first.client, old_node_key=old)
    waiting = following(first.client, url)
    await held(waiting)
    await tailnet.server.rename_node(str(witness.id), "seen")
    await until(stream, lambda netmap: netmap.peer_named("seen") is not None)
    node = (await let_in(tailnet, url))["node"]
    assert (int(node["id"]), (await asyncio.wait_for(waiting, PROMPTLY))["MachineAuthorized"]) == (
        first.id,
        True,
    )
    new_key = first.client.node_key
    await until(watching, lambda netmap: netmap.peers[first.id]["Key"] == new_key)
    assert watching.netmap.peers[first.id]["Online"] is True
    await first.stream()


async def test_an_expired_node_comes_back_by_logging_in(tailnet: Tailnet, join: Join) -> None:
    first = await join("laptop")
    await tailnet.server.call("POST", f"node/{first.id}/expire", {})
    assert (await first.client.register())["NodeKeyExpired"] is True
    old = first.client.rotate_node_key()
    url = await asked(first.client, old_node_key=old)
    await let_in(tailnet, url)
    answer = await registered(first.client, followup=url)
    assert answer["Login"]["LoginName"] == "alice"
    assert tailnet.node_of(first.client).id == first.id


async def approval(tailnet: Tailnet, *, on: bool) -> None:
    answer = await tailnet.server.call("PATCH", "settings", {"deviceApproval": on})
    assert answer == {"deviceApproval": on}


async def test_a_device_that_waits_for_approval_sees_nobody_until_it_is_in(
    tailnet: Tailnet, join: Join
) -> None:
    """Its client shows that it waits; peers hear of it in the moment in which it is let in."""
    witness = await join("witness")
    watching = await witness.stream()
    await approval(tailnet, on=True)
    client = await tailnet.client("new")
    answer = await client.register(auth_key=await tailnet.key())
    assert (answer["MachineAuthorized"], answer["Error"], answer["AuthURL"]) == (False, "", "")
    new = Enrolled(client, tailnet.node_of(client).id)
    stream = await new.stream()
    assert list(stream.netmap.display_messages) == ["device-approval-needed"]
    assert (stream.netmap.node.get("MachineAuthorized", False), stream.netmap.peers) == (False, {})
    assert new.id not in watching.netmap.peers

    await tailnet.server.call("POST", f"node/{new.id}/authorize", {})
    await until(
        stream, lambda netmap: netmap.node.get("MachineAuthorized") is True and witness.id in netmap.peers
    )
    await until(watching, lambda netmap: new.id in netmap.peers)
    assert stream.netmap.display_messages == {}

    await tailnet.server.call("POST", f"node/{new.id}/authorize", {"authorized": False})
    await until(watching, lambda netmap: new.id not in netmap.peers)
    await until(stream, lambda netmap: not netmap.node.get("MachineAuthorized") and not netmap.peers)

    await approval(tailnet, on=False)
    await until(
        stream, lambda netmap: netmap.node.get("MachineAuthorized") is True and witness.id in netmap.peers
    )
