"""A real certificate authority on the host: Pebble, Let's Encrypt's own for tests. It asks one DNS server.

Debian's is taken (2.4): 2.10 to 2.10.3, which the Go module proxy has, answer a finalize request without the order's
`Location`, by which clients go on (golang.org/x/crypto/acme, CreateOrderCert; Let's Encrypt itself sends it).
"""

import asyncio
import json
import shutil
import ssl
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import trustme

from harness.errors import HarnessError, Missing
from harness.ports import free_port
from harness.progress import tail
from harness.runs import environ, prefix
from harness.servers.programs import end
from harness.wait import RECHECK_SECONDS, Budget

UNHURRIED = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
"""No waits and no refusals by chance, with which it teaches clients patience (its va and wfe packages)."""


@dataclass(frozen=True, slots=True)
class Pebble:
    """A running one: its directory, who signed its own certificate, and the root of those that it issues (PEM)."""

    directory: str
    authority: bytes
    root: bytes


async def start_pebble(
    stack: AsyncExitStack,
    host: str,
    *,
    dns_server: str,
    http_port: int = 80,
    tls_port: int = 443,
    remembers: bool = False,
) -> Pebble:
    """Run it on this address until the stack unwinds. Raises Missing where it is not installed.

    It looks at these ports, where real authorities look at 80 and 443; with `remembers` it believes for later orders
    what it found for the first.
    """
    program = shutil.which("pebble")
    if program is None:
        raise Missing("there is no pebble: install it (Debian: apt-get install pebble)")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix("pebble"))))
    authority, port, management = trustme.CA(), free_port(host), free_port(host)
    issued = authority.issue_cert(host)
    (folder / "cert.pem").write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(folder / "key.pem")
    configuration = {
        "listenAddress": f"{host}:{port}",
        "managementListenAddress": f"{host}:{management}",
        "certificate": str(folder / "cert.pem"),
        "privateKey": str(folder / "key.pem"),
        "httpPort": http_port,
        "tlsPort": tls_port,
        "keyAlgorithm": "ecdsa",
        "retryAfter": {"authz": 1, "order": 1},
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": configuration}))
    log = folder / "pebble.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(program, "-config", folder / "pebble.json", "-dnsserver", dns_server),
            stdout=output,
            stderr=output,
            env=environ(UNHURRIED, {"PEBBLE_AUTHZREUSE": "100" if remembers else "0"}),
        )
    stack.push_async_callback(end, process)
    pem = authority.cert_pem.bytes()
    root = await _root(process, f"https://{host}:{management}/roots/0", pem, log)
    return Pebble(f"https://{host}:{port}/dir", pem, root)


async def _root(process: asyncio.subprocess.Process, url: str, authority: bytes, log: Path) -> bytes:
    """The root of what it issues, once it answers."""
    trust = ssl.create_default_context(cadata=authority.decode())
    async with asyncio.timeout(Budget.DAEMON.seconds), aiohttp.ClientSession() as session:
        while process.returncode is None:
            try:
                async with session.get(url, ssl=trust) as answer:
                    return await answer.read()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(RECHECK_SECONDS / 5)
    raise HarnessError(f"pebble ended with {process.returncode}:\n{tail(log)}")
