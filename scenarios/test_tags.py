"""Tags on real clients, as a table: how a device came in, what is done to it, and what it has afterwards.

The same table without clients, with more rows, is tests/unit/state/test_tags.py.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from harness.clients.base import Ability, Client
from harness.conditions import running, tagged
from harness.logins import REAUTH, LoginRefused, logs_in, wishes
from harness.policies import acl, policy
from harness.servers.base import AdminRefused, AuthKey
from harness.tailnet import Tailnet
from harness.wait import Budget

A, B, NOBODYS, UNKNOWN = "tag:a", "tag:b", "tag:nobodys", "tag:unknown"
OWNERS = {A: ["alice@"], B: ["alice@"], NOBODYS: []}
POLICY = policy(acl("*", "*:*"), tag_owners=OWNERS)
ALICES: tuple[str, ...] = ()


class Refused(Exception):
    """The device's user or the administrator was told no."""


@dataclass(frozen=True, slots=True)
class Device:
    """A client in the tailnet with the policy."""

    tailnet: Tailnet
    client: Client

    async def joins(self, key: AuthKey, *extra: str) -> None:
        """`tailscale up --auth-key`."""
        result = await self.client.up(self.tailnet.server.url, auth_key=key.text, extra=extra)
        if not result.ok:
            raise Refused(result.message)
        await self.client.until(running(), Budget.JOIN)

    async def logs_in(self, *extra: str, user: str = "alice") -> None:
        """`tailscale up`, and an administrator lets it in."""
        try:
            result = await logs_in(self.tailnet, self.client, user, *extra)
        except (LoginRefused, AdminRefused) as refusal:
            raise Refused(str(refusal)) from refusal
        assert result.ok, result.message
        await self.client.until(running(), Budget.JOIN)

    async def asks(self, *tags: str) -> None:
        """`tailscale up --advertise-tags` while it is in, without logging in again."""
        result = await self.client.up(self.tailnet.server.url, extra=[wishes(tags)])
        if not result.ok:
            raise Refused(result.message)

    async def is_given(self, *tags: str) -> None:
        """An administrator sets its tags."""
        try:
            await self.tailnet.server.set_tags((await self.tailnet.node_of(self.client)).id, tags)
        except AdminRefused as refusal:
            raise Refused(str(refusal)) from refusal


Act = Callable[[Device], Awaitable[None]]


def joins(*extra: str, tags: tuple[str, ...] = ()) -> Act:
    """With a new key of alice's, with these tags."""

    async def act(device: Device) -> None:
        await device.joins(await device.tailnet.auth_key("alice", tags=tags), *extra)

    return act


def joins_twice(*, tags: tuple[str, ...], between: Act) -> Act:
    """With one key, first as a newcomer and then to log in anew."""

    async def act(device: Device) -> None:
        key = await device.tailnet.auth_key("alice", tags=tags, reusable=True)
        await device.joins(key)
        await between(device)
        await device.joins(key, REAUTH)

    return act


def logs_in_as(user: str, *extra: str) -> Act:
    return lambda device: device.logs_in(*extra, user=user)


def asks(*tags: str) -> Act:
    return lambda device: device.asks(*tags)


def is_given(*tags: str) -> Act:
    return lambda device: device.is_given(*tags)


TAKEN: dict[str, tuple[list[Act], tuple[str, ...]]] = {
    "key with a tag": ([joins(tags=(A,))], (A,)),
    "key with a tag, which is asked for": ([joins(wishes([A]), tags=(A,))], (A,)),
    "key with a tag, then another is asked for": ([joins(tags=(A,)), asks(B)], (A,)),
    "key with a tag, then one more is asked for": ([joins(tags=(A,)), asks(A, B)], (A,)),
    "key with a tag, another set, then the first asked for": ([joins(tags=(A,)), is_given(B), asks(A)], (B,)),
    "key with a tag, another set, then the same key again": (
        [joins_twice(tags=(A,), between=is_given(B))],
        (B,),
    ),
    "key without": ([joins()], ALICES),
    "key without, then one is asked for": ([joins(), asks(A)], ALICES),
    "key without, one set, then none asked for": ([joins(), is_given(A), asks()], (A,)),
    "key without, two set, then one asked for": ([joins(), is_given(A, B), asks(A)], (A, B)),
    "login": ([logs_in_as("alice")], ALICES),
    "login that asks for one": ([logs_in_as("alice", wishes([A]))], (A,)),
    "login, then a login that asks for one": (
        [logs_in_as("alice"), logs_in_as("alice", REAUTH, wishes([A]))],
        (A,),
    ),
    "login that asks for two, then one that asks for one": (
        [logs_in_as("alice", wishes([A, B])), logs_in_as("alice", REAUTH, wishes([B]))],
        (B,),
    ),
    "login that asks for one, then one that asks for none": (
        [logs_in_as("alice", wishes([A])), logs_in_as("alice", REAUTH, wishes([]))],
        ALICES,
    ),
    "login, one set, then none asked for": ([logs_in_as("alice"), is_given(NOBODYS), asks()], (NOBODYS,)),
    "login, any set, owned or not": ([logs_in_as("alice"), is_given(NOBODYS)], (NOBODYS,)),
    "login, one set, then another": ([logs_in_as("alice"), is_given(A), is_given(B)], (B,)),
    "key with a tag, then a login": ([joins(tags=(A,)), logs_in_as("alice", REAUTH)], ALICES),
    "key without, then a key with": ([joins(), joins(REAUTH, tags=(A,))], (A,)),
}

REFUSED: dict[str, tuple[list[Act], Act, str]] = {
    "key with a tag, another asked for": ([], joins(wishes([B]), tags=(A,)), "requested tags tag:b"),
    "key with a tag, an unknown one asked for": (
        [],
        joins(wishes([UNKNOWN]), tags=(A,)),
        "requested tags tag:unknown",
    ),
    "key with a tag, one asked for that is nobody's": (
        [],
        joins(wishes([NOBODYS]), tags=(A,)),
        "requested tags tag:nobodys",
    ),
    "key without, one asked for": ([], joins(wishes([A])), "requested tags tag:a"),
    "key without, an unknown one asked for": ([], joins(wishes([UNKNOWN])), "requested tags tag:unknown"),
    "key without, one asked for that is nobody's": (
        [],
        joins(wishes([NOBODYS])),
        "requested tags tag:nobodys",
    ),
    "login that asks for an unknown one": (
        [],
        logs_in_as("alice", wishes([UNKNOWN])),
        "requested tags tag:unknown",
    ),
    "login that asks for one that is not the user's": (
        [],
        logs_in_as("alice", wishes([NOBODYS])),
        "requested tags tag:nobodys",
    ),
    "an administrator sets an unknown one": ([joins()], is_given(UNKNOWN), "not defined in the policy"),
    "an administrator sets what is no tag": ([joins()], is_given("a"), "is not a tag"),
    "an administrator takes the last one": ([joins(tags=(A,))], is_given(), "cannot lose all its tags"),
}


async def devices(tailnet: Tailnet) -> list[Device]:
    """A device of each release that has tags to ask for, in a tailnet with the policy."""
    await tailnet.user("alice")
    await tailnet.server.set_policy(POLICY)
    clients = await tailnet.each(tailnet.able(Ability.PREFS), tailnet.client)
    return [Device(tailnet, client) for client in clients]


async def owner(device: Device) -> str:
    """Who the server says owns its node; nobody's is empty."""
    node = await device.tailnet.node_of(device.client)
    return "" if node.tags else node.user


@pytest.mark.parametrize(("acts", "tags"), TAKEN.values(), ids=TAKEN.keys())
async def test_what_a_device_has_after(
    lasting_tailnet: Tailnet, acts: list[Act], tags: tuple[str, ...]
) -> None:
    """Its own client and the server agree on its tags, and on whose it is."""

    async def goes_through(device: Device) -> None:
        for act in acts:
            await act(device)
        await device.client.until(tagged(tags), Budget.SYNC)
        node = await device.tailnet.node_of(device.client)
        assert (node.tags, await owner(device)) == (tags, "" if tags else "alice")
        await device.tailnet.leave(device.client)

    await lasting_tailnet.each(await devices(lasting_tailnet), goes_through)


@pytest.mark.parametrize(("acts", "last", "why"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_refused(lasting_tailnet: Tailnet, acts: list[Act], last: Act, why: str) -> None:
    """Who asked reads why, and nothing has changed."""

    async def is_refused(device: Device) -> None:
        for act in acts:
            await act(device)
        before = await device.tailnet.find_node(device.client)
        with pytest.raises(Refused, match=why):
            await last(device)
        assert await device.tailnet.find_node(device.client) == before
        if before is not None:
            await device.tailnet.leave(device.client)
        else:
            device.tailnet.clients.remove(device.client)
            await device.client.close()

    await lasting_tailnet.each(await devices(lasting_tailnet), is_refused)
