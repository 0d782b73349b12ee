"""Whoever has somebody's node key, which is no secret, and not their machine key: nothing that they try is accepted,
and the victim is as it was, online and fed. Every way in, for victims in every state.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from harness.clients.fake import AnswerRefused, FakeClient
from tests.integration.fakes import Enrolled, Join, Tailnet, registered, until

pytestmark = pytest.mark.bar("A3")

Attempt = Callable[[FakeClient, str], Awaitable[object]]
ELSEWHERE = "node key already in use by another machine"
UNKNOWN = "404: node not found"


async def poll(thief: FakeClient, key: str) -> None:
    await thief.stream_map()


async def lite(thief: FakeClient, key: str) -> None:
    await thief.lite_update(endpoints=["192.0.2.66:6"], hostinfo={"Hostname": "stolen"})


async def one_shot(thief: FakeClient, key: str) -> None:
    await thief.map_once()


async def restart(thief: FakeClient, key: str) -> None:
    _refused(await thief.register())


async def with_key(thief: FakeClient, key: str) -> None:
    _refused(await thief.register(auth_key=key))


async def logout(thief: FakeClient, key: str) -> None:
    _refused(await thief.logout())


async def shorten(thief: FakeClient, key: str) -> None:
    _refused(await thief.register(expiry=datetime.now(UTC) + timedelta(minutes=1)))


async def follow_up(thief: FakeClient, key: str) -> None:
    _refused(await thief.register(followup=f"{thief.url}/register/hskey-authreq-{'0' * 24}"))


async def audit(thief: FakeClient, key: str) -> None:
    await _ask(thief, "POST", "/machine/audit-log", Action="A")


async def attribute(thief: FakeClient, key: str) -> None:
    await _ask(thief, "PATCH", "/machine/set-device-attr", Update={"custom:a": 1})


async def feature(thief: FakeClient, key: str) -> None:
    await _ask(thief, "POST", "/machine/feature/query", Feature="serve")


async def _ask(thief: FakeClient, method: str, path: str, **fields: object) -> None:
    session = await thief.connect()
    body = msgspec.json.encode({"Version": 142, "NodeKey": thief.node_key, **fields})
    answer = await session.request(method, path, body=body)
    if answer.status != 200:
        raise AnswerRefused(answer.status, answer.body.decode())


def _refused(answer: dict[str, object]) -> None:
    assert (answer["MachineAuthorized"], answer["NodeKeyExpired"], answer["AuthURL"]) == (False, False, "")
    raise AnswerRefused(200, str(answer["Error"]))


ATTEMPTS = {
    **dict.fromkeys((poll, lite, one_shot, audit, attribute, feature), UNKNOWN),
    **dict.fromkeys((restart, with_key, logout, shorten, follow_up), ELSEWHERE),
}


async def as_it_is(tailnet: Tailnet, victim: Enrolled) -> None:
    """Connected."""


async def expired(tailnet: Tailnet, victim: Enrolled) -> None:
    await tailnet.server.expire_node(str(victim.id))


async def tagged(tailnet: Tailnet, victim: Enrolled) -> None:
    await tailnet.server.set_policy(
        '{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}], "tagOwners": {"tag:a": []}}'
    )
    await tailnet.server.set_tags(str(victim.id), ["tag:a"])


async def unapproved(tailnet: Tailnet, victim: Enrolled) -> None:
    await tailnet.server.call("POST", f"node/{victim.id}/authorize", {"authorized": False})


@pytest.mark.parametrize("becomes", [as_it_is, expired, tagged, unapproved], ids=lambda state: state.__name__)
@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.__name__)
async def test_a_node_key_is_worth_nothing_without_its_machine_key(
    tailnet: Tailnet,
    join: Join,
    attempt: Attempt,
    becomes: Callable[[Tailnet, Enrolled], Awaitable[None]],
) -> None:
    """Refused, and the victim is unchanged, online and fed."""
    victim, witness = await join("victim"), await join("witness")
    stream, watching = await victim.stream(), await witness.stream()
    await until(watching, lambda netmap: netmap.peers[victim.id]["Online"] is True)
    await becomes(tailnet, victim)
    before = tailnet.node(victim.id)

    thief = await tailnet.client("thief", node_private=victim.client.node_private)
    with pytest.raises(AnswerRefused, match=ATTEMPTS[attempt]):
        await attempt(thief, await tailnet.key())

    assert tailnet.node(victim.id) == before
    await tailnet.server.rename_node(str(victim.id), "seen")
    await until(stream, lambda netmap: netmap.node["Name"].startswith("seen."))
    if becomes is not unapproved:  # nobody sees that one
        await until(watching, lambda netmap: netmap.peer_named("seen") is not None)
        assert watching.netmap.peers[victim.id]["Online"] is True
    assert len(tailnet.server.app.writer.snapshot.nodes) == 2


@pytest.mark.parametrize(
    "attempt", [poll, lite, one_shot, audit, attribute], ids=lambda attempt: attempt.__name__
)
async def test_the_key_of_a_deleted_node_opens_nothing(
    tailnet: Tailnet, join: Join, attempt: Attempt
) -> None:
    """Neither to a thief nor to the machine that had it: it has to register anew, as somebody new."""
    victim = await join("victim")
    await tailnet.server.delete_node(str(victim.id))
    thief = await tailnet.client("thief", node_private=victim.client.node_private)
    for client in (thief, victim.client):
        with pytest.raises(AnswerRefused, match=UNKNOWN):
            await attempt(client, "")
    assert "/register/" in (await thief.register())["AuthURL"]
    await registered(victim.client, await tailnet.key())
    assert tailnet.node_of(victim.client).id == victim.id + 1


async def test_a_thiefs_key_is_not_spent(tailnet: Tailnet, join: Join) -> None:
    victim, key = await join("victim"), await tailnet.key()
    thief = await tailnet.client("thief", node_private=victim.client.node_private)
    assert "already in use" in (await thief.register(auth_key=key))["Error"]
    thief.rotate_node_key()
    await registered(thief, key)
