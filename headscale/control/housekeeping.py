"""What time does to nodes and credentials: keys that end, ephemeral nodes that stayed away too long, and credentials
that have been good for nothing for a while."""

import asyncio
import logging
from typing import Final

from headscale.errors import Unavailable
from headscale.state.credentials import forget_revoked_keys
from headscale.state.nodes import delete_idle_ephemeral, expire_due, mark_ending
from headscale.state.oauth import drop_expired_tokens
from headscale.state.writer import Writer

log = logging.getLogger(__name__)

# How late an expiry or a clean-up may be seen; short time-outs are looked at more often.
SCAN_S: Final = 5.0
SCANS_PER_TIMEOUT: Final = 4
SWEEP_S: Final = 3600.0


async def housekeep(writer: Writer) -> None:
    """Scan for ever. One task runs this for the life of the server."""
    while True:
        timeout = writer.snapshot.settings.ephemeral_timeout.total_seconds()
        await asyncio.sleep(min(SCAN_S, timeout / SCANS_PER_TIMEOUT))
        try:
            for node in await writer.apply(expire_due):
                log.info("node expired node=%d name=%s", node.id, node.given_name)
            await writer.apply(mark_ending)
            for node in await writer.apply(delete_idle_ephemeral):
                log.info("ephemeral node deleted node=%d name=%s", node.id, node.given_name)
        except Unavailable as problem:
            log.warning("housekeeping is put off: %s", problem)


async def sweep_credentials(writer: Writer) -> None:
    """Forget expired access tokens and keys that were revoked long ago, for ever. One task runs this."""
    while True:
        try:
            if tokens := await writer.apply(drop_expired_tokens):
                log.info("expired access tokens forgotten count=%d", tokens)
            if keys := await writer.apply(forget_revoked_keys):
                log.info("revoked pre-auth keys forgotten count=%d", keys)
        except Unavailable as problem:
            log.warning("the sweep of credentials is put off: %s", problem)
        await asyncio.sleep(SWEEP_S)
