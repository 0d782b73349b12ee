"""The administrators' listener: REST on a Unix socket, where the file's mode is the login."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from headscale.config import Config
from headscale.state.writer import Writer


async def serve_api(
    stack: AsyncExitStack, writer: Writer, ping: Callable[[], Awaitable[None]], config: Config
) -> None:
    """Serve the API on `config.unix_socket` until the stack unwinds."""
