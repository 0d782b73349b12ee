"""Schemathesis against a running server: requests made from its descriptions, answers held against them.

`nox -s restfuzz` runs it; what follows `--` goes to schemathesis. Two routes are left out, with which it would end the
key that it came with.
"""

import asyncio
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
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
VERSIONS: Final = ("v1", "v2")
# What we do not serve and say so is no fault.
CONFIG: Final = f"""\
hooks = "{Path(__file__).with_name("resthooks.py")}"

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 501]
"""


async def fuzz(arguments: list[str]) -> int:
    """Schemathesis' exit code, the worse one of both versions."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(CONFIG)
        config.flush()
        return await _fuzz(config.name, arguments)


async def _fuzz(config: str, arguments: list[str]) -> int:
    server = ProcessServer(local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5)))
    await server.start()
    try:
        key = (await server.call("POST", "apikey", {}))["apiKey"]
        codes = []
        for version in VERSIONS:
            process = await asyncio.create_subprocess_exec(
                *("schemathesis", "--config-file", config, "run", f"{server.url}/api/{version}/openapi.json"),
                *("--header", f"Authorization: Bearer {key}", "--checks", ",".join(CHECKS)),
                *(word for path in NOT_ASKED for word in ("--exclude-path", path)),
                *arguments,
            )
            codes.append(await process.wait())
        return max(codes)
    finally:
        await server.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(fuzz(sys.argv[1:])))
