"""Keys that came from a Go headscale with a bcrypt hash: verified once, then kept as ours.

bcrypt takes 60 ms of a processor by design. So it runs in a thread, one text at a time, before the ordinary check, and
a secret that is right replaces the hash by the SHA-256 that the ordinary check compares (docs/decisions/0003). A text
whose prefix nobody has costs nothing; a prefix is no secret.
"""

import asyncio
import re
from dataclasses import replace
from functools import partial
from typing import Final

import bcrypt

from headscale.errors import Unavailable
from headscale.records import ApiKey, PreAuthKey, Update
from headscale.state.apikeys import api_key_parts
from headscale.state.credentials import hash_secret, parts_of
from headscale.state.effect import Effect, Moment
from headscale.state.snapshot import Snapshot, put_api_key, put_key
from headscale.state.writer import Writer

# Two seconds' worth of work; more texts than that at once are guesses.
WAITING_MAX: Final = 32
_BCRYPT: Final = re.compile(rb"\$2[abxy]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")


class ImportedKeys:
    """Turns keys into ours when somebody shows their secret. One for the whole server, so that one limit holds."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._turn = asyncio.Semaphore(1)
        self._running: dict[tuple[type, int, bytes], asyncio.Task[None]] = {}

    async def settle_pre_auth_key(self, text: str) -> None:
        """Let `credentials.recognise` know this text. Raises Unavailable when too many wait already."""
        prefix, secret = parts_of(text)
        snapshot = self._writer.snapshot
        key = snapshot.pre_auth_keys.get(snapshot.key_by_prefix.get(prefix, 0))
        if key is not None and is_bcrypt(key.secret_hash):
            await self._shared(key, secret)

    async def settle_api_key(self, text: str) -> None:
        """Let `apikeys.recognise_api_key` know this text. Raises Unavailable when too many wait already."""
        prefix, secret = api_key_parts(text)
        snapshot = self._writer.snapshot
        key = snapshot.api_keys.get(snapshot.api_key_by_prefix.get(prefix, 0))
        if key is not None and is_bcrypt(key.secret_hash):
            await self._shared(key, secret)

    async def close(self) -> None:
        """Let what has begun come to its end."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _shared(self, key: PreAuthKey | ApiKey, secret: str) -> None:
        """A fleet that starts with one key at the same moment asks once."""
        name = (type(key), key.id, hash_secret(secret))
        task = self._running.get(name)
        if task is None:
            if len(self._running) >= WAITING_MAX:
                raise Unavailable(
                    "too many imported keys are being checked for the first time: try again soon"
                )
            task = asyncio.create_task(self._settle(key, secret), name="imported key")
            self._running[name] = task
            task.add_done_callback(lambda _: self._running.pop(name, None))
        await asyncio.shield(task)

    async def _settle(self, key: PreAuthKey | ApiKey, secret: str) -> None:
        async with self._turn:
            if await asyncio.to_thread(is_secret_of, key.secret_hash, secret):
                await self._writer.apply(
                    partial(keep_as_ours, kind=type(key), key_id=key.id, old=key.secret_hash, secret=secret)
                )


def is_bcrypt(secret_hash: bytes) -> bool:
    """Whether a key's hash is one that a Go headscale made; a cost that would take minutes is none of its."""
    return _BCRYPT.fullmatch(secret_hash) is not None


def is_secret_of(secret_hash: bytes, secret: str) -> bool:
    """The 60 ms. A hash that bcrypt cannot read is nobody's."""
    try:
        return bcrypt.checkpw(secret.encode(), secret_hash)
    except ValueError:
        return False


def keep_as_ours(
    snapshot: Snapshot,
    moment: Moment,
    *,
    kind: type[PreAuthKey] | type[ApiKey],
    key_id: int,
    old: bytes,
    secret: str,
) -> Effect[None]:
    """The key with the hash of a secret that was found right. One that was changed or deleted meanwhile is left."""
    if kind is ApiKey:
        api_key = snapshot.api_keys.get(key_id)
        if api_key is None or api_key.secret_hash != old:
            return Effect(snapshot, None)
        api_key = replace(api_key, secret_hash=hash_secret(secret))
        return Effect(put_api_key(snapshot, api_key), None, (Update(api_key),))
    key = snapshot.pre_auth_keys.get(key_id)
    if key is None or key.secret_hash != old:
        return Effect(snapshot, None)
    key = replace(key, secret_hash=hash_secret(secret))
    return Effect(put_key(snapshot, key), None, (Update(key),))
