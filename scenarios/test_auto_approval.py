"""Routes that the policy approves by itself: however a router comes in, whoever it is, wherever the policy is kept."""

import itertools
from dataclasses import dataclass

import pytest

from harness.clients.base import Ability, Client
from harness.conditions import routes_through, running
from harness.logins import logs_in, wishes
from harness.plugin import MakeTailnet
from harness.policies import grant, policy
from harness.servers.base import ServerNode
from harness.tailnet import Tailnet
from harness.wait import Budget, Condition

APPROVERS = {"10.10.0.0/16": "tag:gate", "10.20.0.0/16": "alice@", "10.30.0.0/16": "group:ops"}
BASE = {"tag": "10.10", "user": "10.20", "group": "10.30"}
EXIT = ("0.0.0.0/0", "::/0")


def approving(**more: object) -> str:
    return policy(
        grant("*", to="*"),
        groups={"group:ops": ["bob@"]},
        tag_owners={"tag:gate": ["alice@"]},
        **{"routes": APPROVERS, "exit_nodes": "tag:gate", **more},  # type: ignore[arg-type]
    )


@dataclass(frozen=True, slots=True)
class Case:
    """How a router comes in and by what it may have its routes."""

    number: int
    way: str
    approver: str
    when: str

    @property
    def route(self) -> str:
        """Part of what its approver approves, and of no other."""
        return f"{BASE[self.approver]}.{self.number}.0/24"

    @property
    def other(self) -> str:
        """What nobody approves."""
        return f"172.16.{self.number}.0/24"


CASES = [
    Case(number, *parts)
    for number, parts in enumerate(
        itertools.product(("key", "login"), ("tag", "user", "group"), ("at up", "later")), start=1
    )
]


async def come_in(tailnet: Tailnet, case: Case) -> Client:
    releases = tailnet.able(Ability.LOGOUT)
    client = await tailnet.client(releases[0] if case.number % 2 else releases[-1], name=f"r{case.number}")
    user = "bob" if case.approver == "group" else "alice"
    routes = [case.route, case.other, *(EXIT if case.approver == "tag" else ())]
    flag = f"--advertise-routes={','.join(routes)}"
    at_up = [flag] if case.when == "at up" else []
    if case.way == "key":
        tags = ["tag:gate"] if case.approver == "tag" else []
        await tailnet.log_in(client, await tailnet.auth_key(user, tags=tags), extra=at_up)
    else:
        tags_flag = [wishes(["tag:gate"])] if case.approver == "tag" else []
        assert (await logs_in(tailnet, client, user, *tags_flag, *at_up)).ok
        await client.until(running(), Budget.JOIN)
    if case.when == "later":
        assert (await client.set(flag)).ok
    return client


@pytest.mark.parametrize("kept", ["database", "file"])
async def test_a_router_has_its_routes_at_once(make_tailnet: MakeTailnet, kept: str) -> None:
    """By a key or a login, by tag, user or group, advertised with `up` or later; and no other route."""
    config = {"policy.mode": "file", "policy.path": "policy.json"} if kept == "file" else {}
    tailnet = await make_tailnet(config=config, files={"policy.json": approving()} if config else {})
    for user in ("alice", "bob"):
        await tailnet.user(user)
    if kept == "database":
        await tailnet.server.set_policy(approving())
    watcher = await tailnet.join("bob", name="watcher")

    async def has_its_route(case: Case) -> None:
        client = await come_in(tailnet, case)
        name = await tailnet.given_name(client)
        await watcher.until(routes_through(name, case.route), Budget.SYNC)
        node = await tailnet.node_of(client)
        exits = EXIT if case.approver == "tag" else ()
        assert (set(node.routes), set(node.serving)) == ({case.route, *exits}, {case.route, *exits}), case

    for start in range(0, len(CASES), 4):  # more at once take no less time on two cores
        await tailnet.each(CASES[start : start + 4], has_its_route)


async def test_an_approval_stays_until_somebody_takes_it_back(tailnet: Tailnet) -> None:
    """Not with the policy that gave it. What an administrator took back, the next policy gives again."""
    await tailnet.user("alice")
    await tailnet.server.set_policy(approving())
    watcher = await tailnet.join("alice", name="watcher")
    router = await tailnet.join("alice", name="gate", extra=["--advertise-routes=10.20.1.0/24"])
    node = await tailnet.node_of(router)
    assert node.routes == ("10.20.1.0/24",)
    await tailnet.server.set_policy(approving(routes={}))
    assert (await tailnet.node_of(router)).routes == ("10.20.1.0/24",)
    await watcher.until(routes_through("gate", "10.20.1.0/24"), Budget.SYNC)
    await tailnet.server.approve_routes(node.id, [])
    assert (await tailnet.node_of(router)).routes == ()
    assert (await router.set("--advertise-routes=10.20.1.0/24,10.20.2.0/24")).ok
    assert (await tailnet.node_of(router)).routes == ()
    await tailnet.server.set_policy(approving(routes={"10.20.0.0/16": "alice@"}))
    await watcher.until(routes_through("gate", "10.20.1.0/24"), Budget.SYNC)
    await tailnet.until_nodes(in_force("gate", "10.20.1.0/24", "10.20.2.0/24"))
    assert (await router.set("--advertise-routes=10.20.2.0/24")).ok
    await tailnet.until_nodes(in_force("gate", "10.20.2.0/24"))


def in_force(name: str, *routes: str) -> Condition[list[ServerNode]]:
    """The node has exactly these routes, as administrators see it."""

    def why_not(nodes: list[ServerNode]) -> str | None:
        (found,) = [node.routes for node in nodes if node.given_name == name]
        return None if found == routes else f"{name} has {list(found)}"

    return Condition(f"{name} has the routes {', '.join(routes)}", why_not)
