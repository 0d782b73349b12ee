"""What time does to nodes: keys that end, and ephemeral nodes that stayed away too long."""

import asyncio
import logging
from typing import Final

from headscale.errors import Unavailable
from headscale.state.nodes import delete_idle_ephemeral, expire_due, mark_ending
from headscale.state.writer import Writer

log = logging.getLogger(__name__)

# How late an expiry or a clean-up may be seen; short time-outs are looked at more often.
SCAN_S: Final = 5.0
SCANS_PER_TIMEOUT: Final = 4


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
