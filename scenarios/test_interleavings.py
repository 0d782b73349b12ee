"""Messages that cross, come late or get lost: real clients, and a control proxy that holds each for its moment."""

import asyncio

import pytest

from harness.clients.base import Ability, Client
from harness.conditions import needs_login, running, sees_exactly
from harness.plugin import MakeTailnet
from harness.proxy.messages import REGISTER, answers, map_responses, requests
from harness.proxy.replay import start_replay
from harness.proxy.rules import waiting
from harness.reach import assert_reach
from harness.tailnet import Tailnet, all_pairs
from harness.versions import Release
from harness.wait import Budget, until


def oldest_and_newest(tailnet: Tailnet) -> tuple[Release, Release]:
    """Of those that tell why they are not in."""
    able = tailnet.able(Ability.LOGOUT)
    return able[0], able[-1]


async def test_of_two_machines_with_one_single_use_key_one_is_in(make_tailnet: MakeTailnet) -> None:
    """Their requests are before the server at the same moment."""
    tailnet = await make_tailnet(proxied=True)
    key = await tailnet.auth_key("alice")
    clients = [await tailnet.client(release) for release in oldest_and_newest(tailnet)]
    async with tailnet.proxy.holding(requests(REGISTER, when=lambda asked: bool(asked.get("Auth")))) as held:
        ups = [asyncio.create_task(tailnet.up(client, key)) for client in clients]
        await until(held, waiting(2), Budget.JOIN)
        held.release()
        first = await asyncio.wait(ups, return_when=asyncio.FIRST_COMPLETED)
        assert first[0]
    results = await asyncio.gather(*ups)
    assert sorted(result.ok for result in results) == [False, True], results
    assert len(await tailnet.server.nodes()) == 1
    refused = next(result for result in results if not result.ok)
    assert "used" in refused.message


@pytest.mark.parametrize("old", [True, False], ids=["oldest", "newest"])
async def test_a_node_that_is_deleted_before_it_hears_that_it_is_in(
    make_tailnet: MakeTailnet, *, old: bool
) -> None:
    """Its client is told to log in again, and can."""
    tailnet = await make_tailnet(proxied=True)
    client = await tailnet.client(oldest_and_newest(tailnet)[0 if old else 1])
    async with tailnet.proxy.holding(answers(REGISTER, having="MachineAuthorized")) as held:
        joining = asyncio.create_task(tailnet.up(client, await tailnet.auth_key("alice")))
        await until(held, waiting(), Budget.JOIN)
        (node,) = await tailnet.server.nodes()
        await tailnet.server.delete_node(node.id)
    await client.until(needs_login(), Budget.SYNC)
    joining.cancel()
    await tailnet.log_in(client, await tailnet.auth_key("alice"))
    assert len(await tailnet.server.nodes()) == 1


@pytest.mark.parametrize("old", [True, False], ids=["oldest", "newest"])
async def test_an_answer_that_never_arrives_costs_no_key(make_tailnet: MakeTailnet, *, old: bool) -> None:
    """The server let the node in, and the connection broke: the client comes again with the same key, and is in."""
    tailnet = await make_tailnet(proxied=True)
    client = await tailnet.client(oldest_and_newest(tailnet)[0 if old else 1])
    async with tailnet.proxy.holding(answers(REGISTER, having="MachineAuthorized")) as held:
        joining = asyncio.create_task(tailnet.up(client, await tailnet.auth_key("alice")))
        await until(held, waiting(), Budget.JOIN)
        await tailnet.proxy.hang_up()
    result = await joining
    assert result.ok, result.message
    await client.until(running(), Budget.JOIN)
    assert len(await tailnet.server.nodes()) == 1


async def test_who_heard_nothing_for_a_while_ends_with_the_same_list(make_tailnet: MakeTailnet) -> None:
    """Peers come, are renamed and go while nothing gets through to the viewers; then all of it does."""
    tailnet = await make_tailnet(proxied=True)
    viewers = [
        await tailnet.join("alice", release, name=f"viewer-{i}")
        for i, release in enumerate(oldest_and_newest(tailnet))
    ]
    going = await tailnet.join("alice", name="going")
    await tailnet.meshed([*viewers, going])
    names = {viewer.name for viewer in viewers}
    async with tailnet.proxy.holding(
        lambda message: message.client in names and map_responses()(message)
    ) as held:
        coming = await tailnet.join("alice", name="coming")
        renamed = await tailnet.join("bob", name="renamed")
        await tailnet.server.rename_node((await tailnet.node_of(renamed)).id, "another")
        await tailnet.leave(going)
        await until(held, waiting(len(viewers)), Budget.SYNC)
    others = {"coming", "another", *names}

    async def sees_them(viewer: Client) -> None:
        await viewer.until(sees_exactly(others - {viewer.name}), Budget.SYNC)

    await tailnet.each(viewers, sees_them)
    await assert_reach(dict.fromkeys(all_pairs([*viewers, coming, renamed]), True))


@pytest.mark.parametrize("old", [True, False], ids=["oldest", "newest"])
async def test_a_client_that_is_sent_away_comes_again(make_tailnet: MakeTailnet, *, old: bool) -> None:
    """429 is no verdict: it logs in by itself as soon as it may; `up` of newer releases does not wait for that."""
    tailnet = await make_tailnet(proxied=True)
    client = await tailnet.client(oldest_and_newest(tailnet)[0 if old else 1])
    async with tailnet.proxy.refusing(
        requests(REGISTER), 429, "too many registrations, come later"
    ) as refuse:
        joining = asyncio.create_task(tailnet.up(client, await tailnet.auth_key("alice")))
        while not refuse.met:  # noqa: ASYNC110  (a list that grows)
            await asyncio.sleep(0.05)
    await joining
    await client.until(running(), Budget.JOIN)


@pytest.mark.parametrize("old", [True, False], ids=["oldest", "newest"])
async def test_a_recording_is_played_to_a_client_of_any_release(
    make_tailnet: MakeTailnet, *, old: bool
) -> None:
    """What the newest client was told makes the same list of peers in the oldest, and the other way round."""
    tailnet = await make_tailnet(proxied=True)
    oldest, newest = oldest_and_newest(tailnet)
    recorded = await tailnet.join("alice", newest if old else oldest, name="recorded")
    await tailnet.join("alice", name="early")
    late = await tailnet.join("bob", name="late")
    await tailnet.server.rename_node((await tailnet.node_of(late)).id, "renamed")
    await recorded.until(sees_exactly({"early", "renamed"}), Budget.SYNC)
    host = tailnet.network.host_address
    async with start_replay(host, tailnet.proxy.messages, client="recorded") as (url, playing):
        listener = await tailnet.client(oldest if old else newest)
        assert (await listener.up(url, auth_key="hskey-auth-any")).ok
        await listener.until(sees_exactly({"early", "renamed"}), Budget.SYNC)
        assert playing.finished.is_set()
        assert {str(address) for address in listener.status.addresses} == {
            str(address) for address in recorded.status.addresses
        }
