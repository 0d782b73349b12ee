"""Schemathesis against a running server: requests made from its description, answers held against it.

`nox -s restfuzz` runs it; what follows `--` goes to schemathesis. Two routes are left out, with which it would end the
key that it came with.
"""

import asyncio
import sys
from datetime import timedelta
from typing import Final

from harness.servers.local import local_settings
from harness.servers.process import ProcessServer

CHECKS: Final = (
    "not_a_server_error",
    "response_schema_conformance",
    "status_code_conformance",
    "content_type_conformance",
    "ignored_auth",
)
NOT_ASKED: Final = ("/api/v1/apikey/expire", "/api/v1/apikey/{prefix}")


async def fuzz(arguments: list[str]) -> int:
    """Schemathesis' exit code."""
    server = ProcessServer(local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5)))
    await server.start()
    try:
        key = (await server.call("POST", "apikey", {}))["apiKey"]
        process = await asyncio.create_subprocess_exec(
            *("schemathesis", "run", f"{server.url}/api/v1/openapi.json"),
            *("--header", f"Authorization: Bearer {key}", "--checks", ",".join(CHECKS)),
            *(word for path in NOT_ASKED for word in ("--exclude-path", path)),
            *arguments,
        )
        return await process.wait()
    finally:
        await server.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(fuzz(sys.argv[1:])))
