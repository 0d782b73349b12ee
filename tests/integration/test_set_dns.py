"""Nodes publish the records by which they get certificates: over real sessions, into a real DNS server."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from harness.clients.fake import FakeClient
from harness.errors import Missing
from harness.ports import free_port
from harness.servers.knot import KEY, Knot, start_knot
from harness.strict import unavailable
from headscale.control.setdns import RECORDS_MAX
from tests.integration.fakes import PATIENCE_S, Tailnet, until
from tests.integration.test_dns import dns, own, serving

ZONE = "tailnet.example"
HOST = "127.0.0.1"


def value(number: int = 0) -> str:
    """The answer to some challenge."""
    return f"{number:->43}"


@pytest.fixture
async def knot() -> AsyncIterator[Knot]:
    async with AsyncExitStack() as stack:
        try:
            yield await start_knot(stack, HOST, ZONE)
        except Missing as problem:
            unavailable(str(problem))


def keys(server: str, secret: str, **more: str) -> dict[str, Any]:
    section = "dns.certificates"
    own = {"server": server, "tsig_name": KEY, "tsig_secret": secret}
    return {
        "dns.base_domain": ZONE,
        f"{section}.backend": "rfc2136",
        **{f"{section}.rfc2136.{name}": text for name, text in own.items()},
        **{f"{section}.{name}": text for name, text in more.items()},
    }


@asynccontextmanager
async def issuing(knot: Knot, **more: str) -> AsyncIterator[Tailnet]:
    """A server that publishes there."""
    async with serving(keys(knot.address, knot.secret, **more)) as tailnet:
        yield tailnet


async def set_dns(client: FakeClient, name: str, text: str = value(), **other: Any) -> tuple[int, str]:
    """Status and text of the answer."""
    asked = {"Version": 142, "NodeKey": client.node_key, "Name": name, "Type": "TXT", "Value": text, **other}
    session = await client.connect()
    async with asyncio.timeout(PATIENCE_S * 2):
        answer = await session.request("POST", "/machine/set-dns", body=msgspec.json.encode(asked))
    return answer.status, answer.body.decode()


async def test_a_node_publishes_for_its_own_name(knot: Knot) -> None:
    """Two values stand beside each other, as with two orders at once; each goes at its time. The audit log knows."""
    async with issuing(knot, record_lifetime="3s") as tailnet:
        client = (await tailnet.join("web")).client
        name = f"_acme-challenge.web.{ZONE}"
        answers = await asyncio.gather(*(set_dns(client, name, value(n)) for n in (1, 2)))
        assert [(status, json.loads(text)) for status, text in answers] == [(200, {}), (200, {})]
        assert await knot.texts(name) == sorted([value(1), value(2)])
        events = (await tailnet.server.call("GET", "audit"))["events"]
        published = [(e["details"], e["actor"]) for e in events if e["action"] == "SET_DNS"]
        assert published == [(f"TXT {name}", "node 1 (web)")] * 2
        async with asyncio.timeout(PATIENCE_S):
            while await knot.texts(name):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_what_a_restart_left_is_removed(knot: Knot) -> None:
    async with issuing(knot, record_lifetime="2s") as tailnet:
        client = (await tailnet.join("web")).client
        name = f"_acme-challenge.web.{ZONE}"
        assert (await set_dns(client, name))[0] == 200
        await tailnet.server.stop()
        assert await knot.texts(name) == [value()]
        await tailnet.server.start()
        async with asyncio.timeout(PATIENCE_S):
            while await knot.texts(name):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@pytest.mark.bar("A3")
async def test_nobody_publishes_for_anybody_else(knot: Knot) -> None:
    """Neither by name nor by key, nor anything but the one record."""
    async with issuing(knot) as tailnet:
        web, db = (await tailnet.join("web")).client, (await tailnet.join("db", user="2")).client
        name = f"_acme-challenge.web.{ZONE}"
        assert (await set_dns(db, name, NodeKey=web.node_key))[0] == 404
        assert (await set_dns(db, name, NodeKey="nodekey:" + "7" * 64))[0] == 404
        for other in (name, f"web.{ZONE}", f"_acme-challenge.{ZONE}", f"www.db.{ZONE}", ""):
            status, text = await set_dns(db, other)
            assert (status, f"records of db.{ZONE} only" in text) == (403, True), text
        own_name = f"_acme-challenge.db.{ZONE}"
        assert (await set_dns(db, own_name, Type="A"))[0] == 403
        for wrong in ("", "short", "x" * 10_000, 'a"' + "b" * 41):
            assert (await set_dns(db, own_name, wrong))[0] == 400
        assert [await knot.texts(n) for n in (name, own_name)] == [[], []]
        assert (await set_dns(db, own_name))[0] == 200  # what was refused did not count


async def test_a_node_whose_key_expired_publishes_nothing(knot: Knot) -> None:
    async with issuing(knot) as tailnet:
        web = await tailnet.join("web")
        await tailnet.server.expire_node(str(web.id))
        status, text = await set_dns(web.client, f"_acme-challenge.web.{ZONE}")
        assert (status, "expired" in text) == (403, True)


async def test_one_node_takes_no_more_than_its_share(knot: Knot) -> None:
    async with issuing(knot) as tailnet:
        web, db = (await tailnet.join("web")).client, (await tailnet.join("db")).client
        name = f"_acme-challenge.web.{ZONE}"
        answers = [(await set_dns(web, name, value(n)))[0] for n in range(RECORDS_MAX + 1)]
        assert answers == [200] * RECORDS_MAX + [429]
        assert (await set_dns(db, f"_acme-challenge.db.{ZONE}"))[0] == 200


async def test_a_renamed_node_hears_of_its_new_name(knot: Knot) -> None:
    """It alone; the old name is no longer its own."""
    async with issuing(knot) as tailnet:
        web, db = await tailnet.join("web"), await tailnet.join("db", user="2")
        streams = [await web.stream(), await db.stream()]
        for stream in streams:
            await until(stream, lambda netmap: all(p.get("Online") for p in netmap.peers.values()))
        assert [dns(stream)["CertDomains"] for stream in streams] == [[f"web.{ZONE}"], [f"db.{ZONE}"]]
        assert all("https" in own(stream)["CapMap"] for stream in streams)
        await tailnet.server.rename_node(str(web.id), "www")
        message = await streams[0].next_message(within=PATIENCE_S)
        assert message["DNSConfig"]["CertDomains"] == [f"www.{ZONE}"]
        heard = await streams[1].next_message(within=PATIENCE_S)
        assert "DNSConfig" not in heard
        assert (await set_dns(web.client, f"_acme-challenge.web.{ZONE}"))[0] == 403
        assert (await set_dns(web.client, f"_acme-challenge.www.{ZONE}"))[0] == 200
        for stream in streams:
            stream.close()


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("secret", "is not accepted: PeerBadSignature"),
        ("gone", "cannot be reached"),
        ("hangs", "not within 0.5 s"),
    ],
)
async def test_a_nameserver_in_trouble_is_the_operators_to_mend(
    knot: Knot, caplog: pytest.LogCaptureFixture, trouble: str, said: str
) -> None:
    """The user is told whom to ask, the log why; others are served meanwhile."""
    secret = base64.b64encode(b"another secret").decode()
    async with AsyncExitStack() as stack:
        hanging = await asyncio.start_server(lambda r, w: asyncio.sleep(60), HOST, 0)
        stack.push_async_callback(hanging.wait_closed)
        stack.callback(hanging.close)
        settings = {
            "secret": keys(knot.address, secret),
            "gone": keys(f"{HOST}:{free_port(HOST)}", secret),
            "hangs": keys(f"{HOST}:{hanging.sockets[0].getsockname()[1]}", secret, timeout="500ms"),
        }[trouble]
        tailnet = await stack.enter_async_context(serving(settings))
        client = (await tailnet.join("web")).client
        asked = asyncio.create_task(set_dns(client, f"_acme-challenge.web.{ZONE}"))
        await tailnet.join("other")
        status, text = await asked
        assert (status, "administrator" in text) == (503, True)
        assert said in caplog.text
        assert value() not in caplog.text + text
        assert secret not in caplog.text


async def test_without_a_set_up_it_says_so() -> None:
    async with serving({"dns.base_domain": ZONE}) as tailnet:
        web = await tailnet.join("web")
        status, text = await set_dns(web.client, f"_acme-challenge.web.{ZONE}")
        assert (status, "dns.certificates is not set up" in text) == (501, True)
        stream = await web.stream()
        assert "CertDomains" not in dns(stream)
        assert "https" not in own(stream)["CapMap"]
        stream.close()
