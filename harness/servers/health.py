"""Waiting for a server that was just started."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable

import aiohttp

from harness.wait import RECHECK_SECONDS, Budget


async def answers(url: str, *, alive: Callable[[], bool], authority: bytes | None = None) -> bool:
    """Wait until `/health` says that all is well; False when the server ended instead.

    `authority` is who signed its certificate, PEM. Raises TimeoutError when neither happens in Budget.DAEMON.
    """
    trust = ssl.create_default_context(cadata=authority.decode()) if authority else True
    async with asyncio.timeout(Budget.DAEMON.seconds):
        async with aiohttp.ClientSession() as client:
            while alive():
                with contextlib.suppress(aiohttp.ClientError):
                    async with client.get(f"{url}/health", ssl=trust) as answer:
                        if answer.status == 200:
                            return True
                await asyncio.sleep(RECHECK_SECONDS / 5)
    return False
