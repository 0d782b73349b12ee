"""The server that `--control-url` names, for one scenario."""

import os
from collections.abc import Mapping

from harness.servers.base import ServerAbility, not_offered
from harness.servers.hosted.people import VARIABLE, credentials
from harness.servers.hosted.server import HostedServer
from harness.strict import unavailable


def hosted_server(url: str, *, plain: bool, environ: Mapping[str, str] = os.environ) -> HostedServer:
    """`plain`: the scenario wants nothing special of the server. Raises NotOffered for one that does."""
    if VARIABLE not in environ:
        unavailable(f"{VARIABLE} is not set: --control-url needs an API key of that server")
    if not plain:
        raise not_offered(HostedServer.name, ServerAbility.CONFIGURATION)
    return HostedServer(url, credentials(environ[VARIABLE]))
