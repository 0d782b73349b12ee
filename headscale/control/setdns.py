"""`POST /machine/set-dns`: a node publishes its answer to a certificate authority's question."""

import logging
from functools import partial
from typing import Final

from headscale.certificates.challenge import check_challenge
from headscale.certificates.publisher import Publisher
from headscale.clock import Clock
from headscale.control.allowance import Allowance
from headscale.control.exchange import TEXT_TYPE, Exchange
from headscale.control.identity import asking_node
from headscale.errors import Refused
from headscale.mapper.dns import certificate_domain
from headscale.state.audit import note
from headscale.state.writer import Writer
from headscale.tailcfg.asks import SetDNSRequest
from headscale.tailcfg.names import decode_request

log = logging.getLogger(__name__)

PATH: Final = "/machine/set-dns"
# One certificate takes one record, a wildcard two. What is refused before it costs anything does not count.
RECORDS_MAX: Final = 20


class SetDNSHandler:
    """See the module. A client shows its user the first 200 bytes of any answer but 200."""

    def __init__(self, writer: Writer, publisher: Publisher, clock: Clock) -> None:
        self._writer = writer
        self._publisher = publisher
        self._allowance = Allowance(clock, at_most=RECORDS_MAX)

    async def handle(self, exchange: Exchange) -> None:
        """Answered when the nameserver has the record, because the client then tells the authority to look."""
        asked = decode_request(exchange.body, SetDNSRequest)
        node = asking_node(self._writer.snapshot, exchange, asked.node_key)
        domain = certificate_domain(self._writer.snapshot.settings, node)
        if domain is None or node.expired or not node.authorized:
            raise Refused("this node gets no certificates: its key has expired, or it waits for approval")
        name = check_challenge(asked.name, asked.type, asked.value, domain=domain)
        if not self._allowance.takes(node.id):
            await exchange.respond(
                429, b"too many records in an hour: try again later\n", content_type=TEXT_TYPE
            )
            return
        await self._publisher.publish(name, asked.value)
        log.info("record published node=%d name=%s", node.id, name)
        actor = f"node {node.id} ({node.given_name})"
        await self._writer.apply(partial(note, actor=actor, action="SET_DNS", details=f"TXT {name}"))
        await exchange.respond(200, b"{}")
