"""What the proxy does to messages. Rules apply in the order in which they were laid down; each ends with its context.

A held message holds back what comes after it on its stream, as a slow network does, and nothing on others.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from harness.errors import HarnessError
from harness.proxy.messages import Chooses, Json, Message, To
from harness.wait import Condition


class Stream(Protocol):
    """Where the answer that is passing goes to."""

    async def deliver(self, messages: Iterable[Message]) -> None:
        """Send these to the client; nothing happens when it has gone."""


class Refusal(Exception):
    """The proxy answers in the server's stead."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text


class Rule:
    """Lets everything pass. `apply` is asked about chosen messages alone."""

    def __init__(self, chooses: Chooses) -> None:
        self.chooses = chooses
        self.met: list[Message] = []
        """The messages that it was about."""

    async def apply(self, message: Message, stream: Stream | None) -> Sequence[Message]:
        """What passes in the message's place. `stream` is None for a request. May raise Refusal."""
        self.met.append(message)
        return [message]

    async def end(self) -> None:
        """The rule is lifted; what it kept goes on its way."""


class Hold(Rule):
    """Keeps messages until they are released: a Source of those that wait."""

    name = "what the proxy holds"

    def __init__(self, chooses: Chooses) -> None:
        super().__init__(chooses)
        self._waiting: list[tuple[Message, asyncio.Event]] = []
        self._ended = False
        self._news = asyncio.Event()

    async def read(self) -> tuple[Message, ...]:
        """The messages that wait."""
        return tuple(message for message, _ in self._waiting)

    async def changed(self, within: float) -> None:
        """Return when another one waits."""
        self._news.clear()
        try:
            await asyncio.wait_for(self._news.wait(), within)
        except TimeoutError:
            return

    def release(self, count: int | None = None) -> None:
        """Let the first `count` go on, or all that wait; those that come later wait again."""
        let_go, self._waiting = self._waiting[:count], self._waiting[len(self._waiting[:count]) :]
        for _, event in let_go:
            event.set()

    async def apply(self, message: Message, stream: Stream | None) -> Sequence[Message]:
        if self._ended:
            return [message]
        self.met.append(message)
        mine = (message, asyncio.Event())
        self._waiting.append(mine)
        self._news.set()
        try:
            await mine[1].wait()
        finally:
            if mine in self._waiting:  # its client gave up
                self._waiting.remove(mine)
        return [message]

    async def end(self) -> None:
        self._ended = True
        self.release()


class Delay(Rule):
    """Lets each message wait so long, and with it what follows on its stream."""

    def __init__(self, chooses: Chooses, seconds: float) -> None:
        super().__init__(chooses)
        self._seconds = seconds

    async def apply(self, message: Message, stream: Stream | None) -> Sequence[Message]:
        self.met.append(message)
        await asyncio.sleep(self._seconds)
        return [message]


class Drop(Rule):
    """Loses messages. A request that is lost is never answered: its client waits until it gives up."""

    async def apply(self, message: Message, stream: Stream | None) -> Sequence[Message]:
        self.met.append(message)
        return []


class Rewrite(Rule):
    """Replaces fields: `change` gets them and returns others, or None to leave them as they are."""

    def __init__(self, chooses: Chooses, change: Callable[[Json], Json | None]) -> None:
        super().__init__(chooses)
        self._change = change

    async def apply(self, message: Message, stream: Stream | None) -> Sequence[Message]:
        self.met.append(message)
        changed = self._change(message.json)
        return [message if changed is None else message.with_body(changed)]


class Refuse(Rule):
    """Answers requests with this status and text; the server never hears of them."""

    def __init__(self, chooses: Chooses, status: int, text: str) -> None:
        super().__init__(chooses)
        self._refusal = status, text

    async def apply(self, message: Message, stream: Stream | None) -> Sequence[Message]:
        if message.to is not To.SERVER:
            raise HarnessError(f"only requests can be refused, not {message}")
        self.met.append(message)
        raise Refusal(*self._refusal)


class Reorder(Rule):
    """Gathers so many messages of a stream and lets them go last one first."""

    def __init__(self, chooses: Chooses, count: int) -> None:
        super().__init__(chooses)
        self._count = count
        self._kept: dict[Stream, list[Message]] = {}

    async def apply(self, message: Message, stream: Stream | None) -> Sequence[Message]:
        if stream is None:
            raise HarnessError(f"only messages of a stream can be reordered, not {message}")
        self.met.append(message)
        kept = self._kept.setdefault(stream, [])
        kept.append(message)
        if len(kept) < self._count:
            return []
        return self._kept.pop(stream)[::-1]

    async def end(self) -> None:
        kept, self._kept = self._kept, {}
        for stream, messages in kept.items():
            await stream.deliver(messages)


class RuleBook:
    """The rules in force."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """From now on."""
        self._rules.append(rule)

    async def lift(self, rule: Rule) -> None:
        """No longer; what it kept goes on."""
        self._rules.remove(rule)
        await rule.end()

    async def apply(self, message: Message, stream: Stream | None = None) -> Sequence[Message]:
        """What passes in the message's place, by all rules in turn. May raise Refusal."""
        passing: Sequence[Message] = [message]
        for rule in tuple(self._rules):
            after: list[Message] = []
            for each in passing:
                after += await rule.apply(each, stream) if rule.chooses(each) else [each]
            passing = after
        return passing


def waiting(count: int = 1) -> Condition[tuple[Message, ...]]:
    """So many messages are held, or more."""
    return Condition(
        f"holds {count}",
        lambda held: None if len(held) >= count else f"holds {len(held)}: {[str(m) for m in held]}",
    )
