"""Webhooks with a real receiver: what arrives, signed by whom, and what happens when it does not."""

import asyncio
import hashlib
import hmac
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from headscale.webhooks import delivery
from tests.integration.commands import headscale_inside
from tests.integration.fakes import PATIENCE_S, Join, Tailnet
from tests.integration.test_api_v2_tailnet import Api, api_of

ALL = "tailnet/-/webhooks"


@dataclass
class Receiver:
    """A web server that keeps what it is sent and answers with the next of these, or 200."""

    url: str = ""
    received: list[tuple[bytes, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    hangs: asyncio.Event | None = None

    async def take(self, request: web.Request) -> web.Response:
        self.received.append((await request.read(), request.headers["Tailscale-Webhook-Signature"]))
        if self.hangs is not None:
            await self.hangs.wait()
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for body, _ in self.received for event in json.loads(body)]

    async def until(self, *kinds: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while [kind for kind in self.kinds if kind in kinds] != list(kinds):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.fixture
async def receivers() -> AsyncIterator[list[Receiver]]:
    """Two of them."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(2):
            receiver = Receiver()
            app = web.Application()
            app.router.add_post("/hook", receiver.take)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
            made.append(receiver)
        yield made


@pytest.fixture
def receiver(receivers: list[Receiver]) -> Receiver:
    return receivers[0]


@pytest.fixture
async def api(tailnet: Tailnet) -> AsyncIterator[Api]:
    async with api_of(tailnet.server) as made:
        yield made


async def made(api: Api, url: str, *subscriptions: str, provider: str = "") -> dict[str, Any]:
    asked = {"endpointUrl": url, "subscriptions": subscriptions, "providerType": provider}
    answer = await api("POST", ALL, asked)
    assert answer.status == 200, answer.text
    return dict(answer.document)


def is_signed(body: bytes, signature: str, secret: str) -> bool:
    """As a receiver checks it."""
    parts = dict(part.split("=", 1) for part in signature.split(","))
    wanted = hmac.new(secret.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted, parts["v1"])


async def test_what_happens_arrives_in_order_and_signed(
    api: Api, tailnet: Tailnet, join: Join, receivers: list[Receiver]
) -> None:
    """Each receiver hears what it is subscribed to, and nothing else."""
    everything = await made(api, receivers[0].url, "categoryTailnetManagement")
    await made(api, receivers[1].url, "nodeDeleted")
    one = await join("laptop")
    await tailnet.server.set_policy('{"acls": []}')
    await tailnet.server.call("POST", f"node/{one.id}/rename/desk")
    await tailnet.server.call("DELETE", f"node/{one.id}")
    await receivers[0].until("nodeCreated", "policyUpdate", "nodeDeleted")
    await receivers[1].until("nodeDeleted")
    assert receivers[1].kinds == ["nodeDeleted"]
    for body, signature in receivers[0].received:
        assert is_signed(body, signature, everything["secret"])
        assert not is_signed(body, signature, "tskey-webhook-other")


async def test_a_test_reaches_the_one_that_is_tested(api: Api, receivers: list[Receiver]) -> None:
    first = await made(api, receivers[0].url, "nodeDeleted")
    await made(api, receivers[1].url, "nodeDeleted")
    assert (await api("POST", f"webhooks/{first['endpointId']}/test")).status == 202
    await receivers[0].until("test")
    assert receivers[1].received == []
    assert (await api("POST", "webhooks/99/test")).status == 404


async def test_the_secret_is_shown_once_and_not_kept_in_clear(
    api: Api, tailnet: Tailnet, receiver: Receiver
) -> None:
    hook = await made(api, receiver.url, "nodeDeleted")
    secret = hook.pop("secret")
    assert secret.startswith("tskey-webhook-")
    shown = (await api("GET", f"webhooks/{hook['endpointId']}")).document
    assert shown == hook
    assert (await api("GET", ALL)).document == {"webhooks": [hook]}
    await tailnet.server.stop()
    with sqlite3.connect(tailnet.server.settings.database) as database:
        dump = "\n".join(database.iterdump())
    assert secret not in dump
    assert secret.encode().hex() not in dump.lower()
    await tailnet.server.start()
    async with api_of(tailnet.server) as again:
        await again("POST", f"webhooks/{hook['endpointId']}/test")
        await receiver.until("test")
        assert is_signed(*receiver.received[0], secret)
        rotated = (await again("POST", f"webhooks/{hook['endpointId']}/rotate")).document["secret"]
        await again("POST", f"webhooks/{hook['endpointId']}/test")
        await receiver.until("test", "test")
    assert is_signed(*receiver.received[1], rotated)
    assert not is_signed(*receiver.received[1], secret)


async def test_what_was_not_taken_is_sent_again(
    api: Api, tailnet: Tailnet, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its order, with what happened meanwhile; a redirect is no delivery."""
    monkeypatch.setattr(delivery, "RETRY_MIN_S", 0.05)
    receiver.answers = [500, 302]
    await made(api, receiver.url, "userCreated", "userDeleted")
    await tailnet.server.create_user("carol")
    async with asyncio.timeout(PATIENCE_S):
        while len(receiver.received) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await tailnet.server.call("DELETE", "user/3")
    async with asyncio.timeout(PATIENCE_S):
        while "userDeleted" not in receiver.kinds:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert receiver.kinds[:2] == ["userCreated", "userCreated"]
    assert receiver.kinds[-2:] == ["userCreated", "userDeleted"]


async def test_one_that_hangs_keeps_no_other_waiting(
    api: Api, tailnet: Tailnet, receivers: list[Receiver]
) -> None:
    receivers[0].hangs = asyncio.Event()
    for receiver in receivers:
        await made(api, receiver.url, "userCreated")
    await tailnet.server.create_user("carol")
    await receivers[1].until("userCreated")
    receivers[0].hangs.set()


async def test_a_deleted_one_hears_nothing_more(
    api: Api, tailnet: Tailnet, receivers: list[Receiver]
) -> None:
    first, second = [await made(api, receiver.url, "userCreated") for receiver in receivers]
    changed = await api("PATCH", f"webhooks/{second['endpointId']}", {"subscriptions": ["userDeleted"]})
    assert changed.document["subscriptions"] == ["userDeleted"]
    assert (await api("DELETE", f"webhooks/{first['endpointId']}")).status == 200
    assert (await api("DELETE", f"webhooks/{first['endpointId']}")).status == 404
    await tailnet.server.create_user("carol")
    await tailnet.server.call("DELETE", "user/3")
    await receivers[1].until("userDeleted")
    assert (receivers[0].received, receivers[1].kinds) == ([], ["userDeleted"])


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"endpointUrl": "ftp://x", "subscriptions": ["nodeDeleted"]}, 400),
        ({"endpointUrl": "http://", "subscriptions": ["nodeDeleted"]}, 400),
        ({"endpointUrl": "http://x/ y", "subscriptions": ["nodeDeleted"]}, 400),
        ({"endpointUrl": "http://x", "subscriptions": []}, 400),
        ({"endpointUrl": "http://x", "subscriptions": ["nodeEaten"]}, 400),
        ({"endpointUrl": "http://x", "subscriptions": ["nodeDeleted"], "providerType": "pigeon"}, 400),
        ({"endpointUrl": "http://x"}, 422),
        ({"endpointUrl": "http://x", "subscriptions": "nodeDeleted"}, 422),
    ],
)
async def test_bad_ones_are_refused(api: Api, asked: dict[str, Any], status: int) -> None:
    assert (await api("POST", ALL, asked)).status == status
    assert (await api("GET", ALL)).document == {"webhooks": []}


async def test_the_command_line_manages_them(tailnet: Tailnet, receiver: Receiver) -> None:
    async def run(*words: str) -> str:
        ran = await headscale_inside(tailnet.server.settings, "webhooks", *words)
        assert ran.code == 0, ran.err
        return ran.out.strip()

    secret = await run("create", receiver.url, "-s", "nodeDeleted")
    assert receiver.url in await run("list")
    await run("test", "-i", "1")
    await receiver.until("test")
    assert is_signed(*receiver.received[0], secret)
    assert await run("rotate", "-i", "1") != secret
    await run("delete", "-i", "1", "--force")
    assert await run("list", "-o", "json") == "[]"
