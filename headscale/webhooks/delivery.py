"""Sends events to webhooks: in their order, signed, again and again after failures until it is too late.

Each webhook has a queue and a task of its own, so that one that is slow or gone keeps no other waiting. Queues are in
memory: what was not delivered when the server stops is not sent later.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import aiohttp

from headscale.clock import Clock
from headscale.derp.fetch import shown
from headscale.errors import Unavailable
from headscale.records import Webhook
from headscale.sealing import Sealer
from headscale.state.snapshot import Snapshot
from headscale.state.webhooks import find_webhook
from headscale.state.writer import Writer
from headscale.webhooks.events import Event, ending_soon, events_between, tailnet_name, trial_event, wants
from headscale.webhooks.message import SIGNATURE, body_of, signature_of

log = logging.getLogger(__name__)

# One answer may take so long; the body of an answer is never read.
ANSWER_S: Final = 10.0
# Of one webhook; the oldest go when there are more.
WAITING_MAX: Final = 1000
# In one request.
TOGETHER_MAX: Final = 50
RETRY_MIN_S: Final = 2.0
RETRY_MAX_S: Final = 900.0
GIVE_UP: Final = timedelta(hours=24)
# How late the news may be that a key ends within a day.
SCAN_S: Final = 60.0

Post = Callable[[str, bytes, dict[str, str]], Awaitable[int]]


@dataclass(slots=True)
class _Waiting:
    """What one webhook has not heard yet; `wake` is set when there is something."""

    events: deque[Event] = field(default_factory=lambda: deque(maxlen=WAITING_MAX))
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: int = 0

    def add(self, event: Event) -> None:
        if len(self.events) == WAITING_MAX:
            self.dropped += 1
        self.events.append(event)
        self.wake.set()


async def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """The status of the answer; raises ClientError, OSError or TimeoutError. A redirect is an answer like any other."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            return answer.status


class Webhooks:
    """Watches the state, and tells every webhook what it is subscribed to."""

    def __init__(self, writer: Writer, sealer: Sealer, clock: Clock, *, send: Post = post) -> None:
        self._writer = writer
        self._sealer = sealer
        self._clock = clock
        self._send = send
        self._seen = writer.snapshot
        self._looked_at = clock.now()
        self._changed = asyncio.Event()
        self._waiting: dict[int, _Waiting] = {}
        self._senders: dict[int, asyncio.Task[None]] = {}
        writer.on_publish.append(self._changed.set)

    async def run(self) -> None:
        """Watch and send for ever. One task runs this for the life of the server."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._scan())
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    self._take_notice()
        finally:
            await self._stop(list(self._senders))

    def test(self, webhook_id: int) -> None:
        """Send a test event, and nothing else; raises NotFound."""
        find_webhook(self._writer.snapshot, webhook_id)
        self._queue_of(webhook_id).add(trial_event(self._clock.now()))

    def waiting(self, webhook_id: int) -> int:
        """How many events it has not heard yet."""
        return len(self._waiting[webhook_id].events) if webhook_id in self._waiting else 0

    def _take_notice(self) -> None:
        old, new = self._seen, self._writer.snapshot
        self._seen = new
        for webhook_id in set(old.webhooks) - set(new.webhooks):
            self._forget(webhook_id)
        if new.webhooks:
            touched = self._writer.touched_since(old.epoch)
            self._tell(new, events_between(old, new, touched, self._clock.now()))

    async def _scan(self) -> None:
        while True:
            await asyncio.sleep(SCAN_S)
            now, snapshot = self._clock.now(), self._writer.snapshot
            since, self._looked_at = self._looked_at, now
            if snapshot.webhooks:
                self._tell(snapshot, ending_soon(snapshot, since, now))

    def _tell(self, snapshot: Snapshot, events: list[Event]) -> None:
        for webhook in snapshot.webhooks.values():
            for event in events:
                if wants(webhook, event.kind):
                    self._queue_of(webhook.id).add(event)

    def _queue_of(self, webhook_id: int) -> _Waiting:
        """Its queue, and a task that empties it."""
        if webhook_id not in self._waiting:
            self._waiting[webhook_id] = _Waiting()
            name = f"webhook {webhook_id}"
            self._senders[webhook_id] = asyncio.create_task(self._empty(webhook_id), name=name)
        return self._waiting[webhook_id]

    def _forget(self, webhook_id: int) -> None:
        self._waiting.pop(webhook_id, None)
        if (sender := self._senders.pop(webhook_id, None)) is not None:
            sender.cancel()

    async def _stop(self, webhook_ids: list[int]) -> None:
        senders = [self._senders[webhook_id] for webhook_id in webhook_ids]
        for webhook_id in webhook_ids:
            self._forget(webhook_id)
        await asyncio.gather(*senders, return_exceptions=True)

    async def _empty(self, webhook_id: int) -> None:
        """Send what waits, together what is there at once; after a failure later, until it is a day old."""
        waiting, pause = self._waiting[webhook_id], RETRY_MIN_S
        while True:
            await waiting.wake.wait()
            webhook = self._writer.snapshot.webhooks.get(webhook_id)
            if webhook is None:
                return
            events = list(waiting.events)[:TOGETHER_MAX]
            problem = await self._deliver(webhook, events)
            if problem is None:
                pause = RETRY_MIN_S
                self._done(waiting, events)
                continue
            late = [event for event in events if self._clock.now() - event.at > GIVE_UP]
            if late:
                self._done(waiting, late)
            log.warning(
                "webhook not reached, next try in %.0f s webhook=%d url=%s waiting=%d dropped=%d: %s",
                pause,
                webhook.id,
                shown(webhook.url),
                len(waiting.events),
                waiting.dropped + len(late),
                problem,
            )
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311
            pause = min(2 * pause, RETRY_MAX_S)

    def _done(self, waiting: _Waiting, events: list[Event]) -> None:
        """These need not be sent any more. (Meanwhile the oldest may have gone by themselves.)"""
        gone = {id(event) for event in events}
        while waiting.events and id(waiting.events[0]) in gone:
            waiting.events.popleft()
        if not waiting.events:
            waiting.wake.clear()

    async def _deliver(self, webhook: Webhook, events: list[Event]) -> str | None:
        """What went wrong, in words."""
        body = body_of(
            events, tailnet=tailnet_name(self._writer.snapshot.settings), provider=webhook.provider
        )
        try:
            secret = self._sealer.open(webhook.sealed_secret)
        except Unavailable as problem:
            return f"its secret cannot be read: {problem}; rotate it"
        headers = {
            "Content-Type": "application/json",
            SIGNATURE: signature_of(body, secret=secret, now=self._clock.now()),
        }
        try:
            status = await self._send(webhook.url, body, headers)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as problem:
            return (
                f"{type(problem).__name__}"
                if isinstance(problem, ValueError)
                else str(problem) or "no answer in time"
            )
        return None if 200 <= status < 300 else f"it answers {status}"
