"""A real authoritative DNS server on the host, Knot, with one zone that takes signed updates of TXT records."""

import asyncio
import base64
import secrets
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message
import dns.rdatatype

from harness.errors import HarnessError, Missing
from harness.ports import free_port
from harness.progress import tail
from harness.runs import environ
from harness.servers.programs import end
from harness.wait import RECHECK_SECONDS, Budget

KEY = "headscale"
ALGORITHM = "hmac-sha256"

CONFIGURATION = """\
server:
    rundir: "{folder}"
    listen: {host}@{port}
log:
  - target: stderr
    any: info
database:
    storage: "{folder}/db"
key:
  - id: {key}
    algorithm: {algorithm}
    secret: {secret}
acl:
  - id: updates
    key: {key}
    action: update
    update-type: [TXT]
zone:
  - domain: {zone}
    storage: "{folder}"
    file: zone.txt
    zonefile-sync: -1
    acl: updates
"""
ZONE = "@ 60 SOA ns hostmaster 1 3600 600 86400 1\n@ 60 NS ns\nns 60 A 192.0.2.53\n"


@dataclass(frozen=True, slots=True)
class Knot:
    """A running one: where, its zone, and the key's secret in base64."""

    host: str
    port: int
    zone: str
    secret: str

    @property
    def address(self) -> str:
        """As clients of it are told."""
        return f"{self.host}:{self.port}"

    async def texts(self, name: str) -> list[str]:
        """The values of the TXT records at a name. Raises DNSException or OSError without an answer."""
        query = dns.message.make_query(name, dns.rdatatype.TXT)
        answer = await dns.asyncquery.tcp(query, self.host, port=self.port, timeout=Budget.DAEMON.seconds)
        found = [record for records in answer.answer for record in records]
        return sorted(b"".join(record.strings).decode() for record in found)


async def start_knot(stack: AsyncExitStack, host: str, zone: str) -> Knot:
    """Run it on this address until the stack unwinds. Raises Missing where it is not installed."""
    program = shutil.which("knotd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise Missing("there is no knotd: install Knot DNS (Debian: apt-get install knot)")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hs-knot-")))
    knot = Knot(host, free_port(host), zone, base64.b64encode(secrets.token_bytes(32)).decode())
    (folder / "db").mkdir()
    (folder / "zone.txt").write_text(ZONE)
    (folder / "knot.conf").write_text(
        CONFIGURATION.format(
            folder=folder,
            host=host,
            port=knot.port,
            key=KEY,
            algorithm=ALGORITHM,
            secret=knot.secret,
            zone=zone,
        )
    )
    log = folder / "knot.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(program, "-c", folder / "knot.conf"),
            stdout=output,
            stderr=output,
            env=environ(),
        )
    stack.push_async_callback(end, process)
    await _answers(process, knot, log)
    return knot


async def _answers(process: asyncio.subprocess.Process, knot: Knot, log: Path) -> None:
    async with asyncio.timeout(Budget.DAEMON.seconds):
        while process.returncode is None:
            try:
                await knot.texts(knot.zone)
            except (OSError, EOFError, dns.exception.DNSException):
                await asyncio.sleep(RECHECK_SECONDS / 5)
                continue
            return
    raise HarnessError(f"knotd ended with {process.returncode}:\n{tail(log)}")
