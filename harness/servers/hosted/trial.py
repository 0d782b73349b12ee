"""Scenarios against a server by its URL, where there is none: ours as a process stands in for it.

    python -m harness.servers.hosted.trial scenarios/test_connectivity.py

Arguments go to pytest. The server has two people, Alice and Bob, whose API keys the scenarios get. Afterwards it
must be as it was: no device, no key that lets anybody in, its own policy.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from harness.errors import HarnessError
from harness.servers.hosted.journal import Left, journal_of
from harness.servers.hosted.people import VARIABLE
from harness.servers.local import local_settings
from harness.servers.process import ProcessServer

OWN_POLICY: Final = '// the tailnet\'s own\n{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["tcp:22"]}]}\n'
HOST: Final = "127.0.0.1"
PEOPLE: Final = ("alice", "bob")


@dataclass(frozen=True, slots=True)
class Standing:
    """A server that somebody else runs, as its owner sees it; `keys` is what HARNESS_API_KEY is to be."""

    server: ProcessServer
    keys: str

    async def complaints(self) -> list[str]:
        """In what it is not as it was before anybody tested with it."""
        server = self.server
        policy = (await server.call("GET", "policy"))["policy"]
        keys = (await server.call("GET", "tailnet/-/keys", version="v2"))["keys"]
        left = journal_of(server.url).read()
        return [
            *(f"device {node.given_name} is still there" for node in await server.nodes()),
            *(f"key {key['id']} still lets devices in" for key in keys if not key["invalid"]),
            *([] if left == Left() else [f"the journal has {left}"]),
            *([] if policy == OWN_POLICY else [f"the policy is {policy!r}"]),
        ]


@asynccontextmanager
async def standing(host: str = HOST) -> AsyncIterator[Standing]:
    """The server at an address of this host, until the context ends."""
    server = ProcessServer(local_settings(host, ephemeral_timeout=timedelta(minutes=30)))
    try:
        await server.start()
        await server.set_policy(OWN_POLICY)
        keys = {}
        for name in PEOPLE:
            number = await server.create_user(name)
            if number != "1":  # the first is the owner
                await server.call("POST", f"users/{number}/role", {"role": "admin"}, version="v2")
            keys[name] = (await server.call("POST", "apikey", {"user": number}))["apiKey"]
        yield Standing(server, ",".join(f"{name}={key}" for name, key in keys.items()))
    finally:
        await server.close()


async def run(arguments: Sequence[str]) -> int:
    """Pytest's exit code, or 1 when something was left behind."""
    async with standing() as found:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", f"--control-url={found.server.url}", *arguments),
            env={**os.environ, VARIABLE: found.keys},
        )
        code = await process.wait()
        complaints = await found.complaints()
    for complaint in complaints:
        print(f"left behind: {complaint}", file=sys.stderr)  # noqa: T201
    return code or (1 if complaints else 0)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(run(sys.argv[1:])))
    except HarnessError as problem:
        sys.exit(f"no trial: {problem}")
