"""A nameserver that takes records by DNS UPDATE (RFC 2136), each message signed (TSIG, RFC 8945)."""

import asyncio
import socket
from typing import Final

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.tsig
import dns.update

from headscale.certificates.publisher import PublishFailed
from headscale.config.settings import DNSUpdates

# Resolvers may keep a value for so long while an authority asks for another one at the same name.
TTL_S: Final = 60
_HINTS: Final = {
    dns.rcode.NOTAUTH: "it is not authoritative for the zone, or does not know the key",
    dns.rcode.NOTZONE: "the name does not lie in the zone",
    dns.rcode.REFUSED: "the key may not change the zone",
    dns.rcode.SERVFAIL: "its log says why",
}


class UpdatedNameserver:
    """See `publisher.Nameserver`. Every update is one message over TCP, and holds whatever else is at the name."""

    def __init__(self, settings: DNSUpdates) -> None:
        self._host = settings.host
        self._port = settings.port
        self._zone = dns.name.from_text(settings.zone)
        self._key = dns.tsig.Key(settings.tsig_name, settings.tsig_secret, settings.tsig_algorithm)

    async def add(self, name: str, value: str) -> None:
        """Add the value beside those that are there. Raises PublishFailed."""
        update = self._update()
        update.add(dns.name.from_text(name), TTL_S, _txt(value))
        await self._send(update)

    async def remove(self, name: str, value: str) -> None:
        """Remove this value alone; one that is not there is no failure. Raises PublishFailed."""
        update = self._update()
        update.delete(dns.name.from_text(name), _txt(value))
        await self._send(update)

    def _update(self) -> dns.update.UpdateMessage:
        return dns.update.UpdateMessage(self._zone, keyring=self._key)

    async def _send(self, update: dns.update.UpdateMessage) -> None:
        where = f"{self._host}:{self._port}"
        try:
            address = await self._address()
            answer = await dns.asyncquery.tcp(update, address, port=self._port)
        except (OSError, EOFError) as problem:
            raise PublishFailed(
                f"nameserver {where} cannot be reached: {problem or 'it hung up'}"
            ) from problem
        except dns.tsig.BadTime as problem:
            raise PublishFailed(f"nameserver {where} and this machine differ in the time") from problem
        except dns.exception.DNSException as problem:
            said = f"{type(problem).__name__}: {problem}"
            raise PublishFailed(f"nameserver {where} answered with what is not accepted: {said}") from problem
        if answer.rcode() != dns.rcode.NOERROR:
            raise PublishFailed(_refusal(where, answer))

    async def _address(self) -> str:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        return str(found[0][4][0])


def _txt(value: str) -> dns.rdtypes.ANY.TXT.TXT:
    return dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, dns.rdatatype.TXT, [value.encode("ascii")])


def _refusal(where: str, answer: dns.message.Message) -> str:
    hint = _HINTS.get(answer.rcode())
    return f"nameserver {where} answered {dns.rcode.to_text(answer.rcode())}" + (f": {hint}" if hint else "")
