"""Tailscale's own relay server, `derper`, on the host, which asks a control server whom to serve.

Its certificate is one that clients are told not to check, as with the harness's own relay, whose map it shares.
"""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.ports import free_port
from harness.runs import environ, prefix
from harness.servers.programs import end, until_listening
from harness.servers.relay import map_text
from headscale import tls


@dataclass(frozen=True, slots=True)
class Derper:
    """A running one: where, and its map in a file's form."""

    host: str
    port: int
    map_text: str


async def start_derper(stack: AsyncExitStack, program: Path, host: str, *, verify_url: str) -> Derper:
    """Run it on this address until the stack unwinds. Who cannot be verified is refused."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix("derper"))))
    tls.load_or_create(
        [host],
        certificate_path=folder / f"{host}.crt",
        key_path=folder / f"{host}.key",
        now=datetime.now(UTC),
    )
    port, stun_port = free_port(host), free_port(host, udp=True)
    log = folder / "derper.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program,
            *("-a", f"{host}:{port}", "-http-port", "-1", "-stun-port", str(stun_port)),
            *("-c", folder / "derper.json", "-hostname", host, "-certmode", "manual", "-certdir", folder),
            *("-verify-client-url", verify_url, "-verify-client-url-fail-open=false"),
            stdout=output,
            stderr=output,
            env=environ(),
        )
    stack.push_async_callback(end, process)
    await until_listening(process, "derper", host, port, log)
    return Derper(host, port, map_text(host, derp_port=port, stun_port=stun_port))
