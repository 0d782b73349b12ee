"""Policies that change while machines run: how soon, for whom, and what happens when the new one is wrong."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import pytest_asyncio

from harness.clients.base import Ability, Client
from harness.durations import Durations
from harness.plugin import Publish
from harness.policies import ALLOW_ALL, acl, policy
from harness.reach import Pair, assert_reach
from harness.servers.base import AdminRefused, all_online
from harness.services import Service
from harness.tailnet import Tailnet, gather
from harness.wait import Budget
from harness.watch import watched

EVERYBODY = "autogroup:member"

RUNS = int(os.environ.get("POLICY_RUNS", "2"))
"""How often paths are closed and opened: a few tell whether it works, twenty are for figures."""


@dataclass(frozen=True, slots=True)
class Office:
    """Alice's and Bob's machines, and a server with `tag:web`."""

    tailnet: Tailnet
    web: Service
    db: Service
    alice: tuple[Client, Client]
    """With the oldest and the newest release."""
    bob: Client
    server: Client


@pytest_asyncio.fixture(loop_scope="session")
async def office(lasting_tailnet: Tailnet) -> Office:
    """The office, with everything allowed."""
    tailnet = lasting_tailnet
    if not tailnet.clients:
        releases = tailnet.able(Ability.FILTER)
        await tailnet.serve("web", "db")
        await gather(
            tailnet.join("alice", releases[0], name="alice-1"),
            tailnet.join("alice", releases[-1], name="alice-2"),
            tailnet.join("bob", releases[0], name="bob"),
            tailnet.join("alice", releases[-1], name="server", tags=["tag:web"]),
        )
    await tailnet.set_policy(ALLOW_ALL)
    by_name = {client.name: client for client in tailnet.clients}
    web, db = tailnet.services
    return Office(
        tailnet, web, db, (by_name["alice-1"], by_name["alice-2"]), by_name["bob"], by_name["server"]
    )


async def test_a_path_closes_and_opens_within_seconds(office: Office, publish: Publish) -> None:
    """Fresh flows stop when the policy that forbids them is set and start when one allows them; others never notice."""
    both = policy(acl(["alice@", "bob@"], "tag:web:*"))
    bob_only = policy(acl("bob@", "tag:web:*"))
    port = office.web.of(office.server)
    echo, udp, icmp = office.server.tcp(port), office.server.udp(port, by="ipv6"), office.server.icmp()
    changing: list[Pair] = [(alice, target) for alice in office.alice for target in (echo, icmp)]
    changing += [(alice, udp) for alice in office.alice if Ability.UDP_FLOWS in alice.abilities]
    steady = office.bob, echo
    closed, opened = Durations("closed after"), Durations("open after")
    release = {client.name: client.release for client in office.tailnet.clients}
    await office.tailnet.set_policy(both)
    await assert_reach(dict.fromkeys([*changing, steady], True))
    async with watched([*changing, steady]) as watch:
        first = watch.now
        for _ in range(RUNS):
            begin = watch.now
            await office.tailnet.set_policy(bob_only)
            await watch.go_on(Budget.HOLD)
            for pair in changing:
                closed.add(release[pair[0].name], watch.open_for(pair, since=begin))
                assert watch.open_for(pair, since=begin) <= Budget.CLOSE.seconds, watch.told(pair)
            again = watch.now
            await office.tailnet.set_policy(both)
            await watch.go_on(Budget.CLOSE)
            for pair in changing:
                after = watch.opened_after(pair, since=again)
                assert after is not None, watch.told(pair)
                assert after <= Budget.CLOSE.seconds, watch.told(pair)
                opened.add(release[pair[0].name], after)
        assert watch.longest_silence(steady, since=first) <= Budget.CLOSE.seconds, watch.told(steady)
    publish("policy-change.txt", f"{closed}\n{opened}\n")


async def test_policies_follow_each_other_directly(office: Office) -> None:
    """From one policy straight to a quite different one, and back: what holds is always the last."""
    web, db = office.web, office.db
    texts = [
        policy(acl("alice@", f"tag:web:{web}"), acl("bob@", f"{EVERYBODY}:{web}")),
        policy(acl("tag:web", "alice@:*"), acl("bob@", f"tag:web:{db}", proto="udp")),
        policy(acl("bob@", f"alice@:{db}", f"tag:web:{web}"), acl("alice@", f"bob@:{db}")),
    ]
    for text in (*texts, texts[0]):
        await office.tailnet.set_policy(text)
        await assert_reach(witnessed(await office.tailnet.expected(text)))
        await office.tailnet.assert_peers(text)


def witnessed(expected: Mapping[Pair, bool]) -> dict[Pair, bool]:
    """The part of the matrix in which somebody reaches the target, so that a no means something."""
    alive = {target for (_, target), want in expected.items() if want}
    return {pair: want for pair, want in expected.items() if pair[1] in alive}


async def test_a_newcomer_gets_exactly_the_rules(office: Office) -> None:
    """Who joins later is let in and kept out like everybody else, by themselves and by the others."""
    web = office.web
    rules = policy(
        acl("group:eng", f"tag:web:{web}"),
        acl(EVERYBODY, "autogroup:self:*"),
        acl("tag:web", "bob@:*"),
        groups={"group:eng": ["alice@"]},
    )
    await office.tailnet.set_policy(rules)
    newcomers = await gather(
        office.tailnet.join("alice", name="late"),
        office.tailnet.join("bob", name="late-server", tags=["tag:web"]),
    )
    await office.tailnet.until_in_force(rules)
    await office.tailnet.assert_in_force(rules)
    await office.tailnet.each(newcomers, office.tailnet.leave)


async def test_a_group_member_counts_from_the_moment_they_exist(office: Office) -> None:
    """A group may name a user whom nobody knows: the others are not disturbed, and the user is in once there."""
    rules = policy(acl("group:eng", "tag:web:*"), groups={"group:eng": ["bob@", "carol@"]})
    await office.tailnet.assert_policy(rules)
    await office.tailnet.set_policy(rules)
    carol = await office.tailnet.join("carol", name="carol")
    await office.tailnet.until_in_force(rules)
    await office.tailnet.assert_in_force(rules)
    await office.tailnet.leave(carol)


async def test_a_broken_policy_is_refused_and_the_old_one_stays(office: Office) -> None:
    """The administrator reads every mistake with its line, and packets pass as before."""
    good = policy(acl("alice@", f"tag:web:{office.web}"))
    broken = """{
        "acls": [
            {"action": "accept", "src": ["group:nobody"], "dst": ["*:*"]},
            {"action": "drop", "src": ["*"], "dst": ["*:99999"]},
        ],
    }"""
    await office.tailnet.set_policy(good)
    with pytest.raises(AdminRefused, match=r"(?s)(line |:)3\D.*group:nobody.*(line |:)4\D.*99999"):
        await office.tailnet.set_policy(broken)
    await office.tailnet.assert_in_force(good)


async def test_a_restart_of_the_server_keeps_the_policy(office: Office) -> None:
    """While the server is away and after it is back, packets pass as the policy says that was set before."""
    rules = policy(acl("alice@", f"tag:web:{office.web}"), acl("tag:web", "bob@:*"))
    await office.tailnet.set_policy(rules)
    expected = witnessed(await office.tailnet.expected(rules))
    await office.tailnet.server.stop()
    await assert_reach(expected)
    await office.tailnet.server.start()
    await office.tailnet.until_nodes(all_online(len(office.tailnet.clients)), Budget.RECONNECT)
    await office.tailnet.until_in_force(rules)
    await office.tailnet.assert_in_force(rules)
