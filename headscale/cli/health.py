"""headscale health: whether the server works, asked the way administrators ask it and the way clients do.

For a server on this machine both doors count: the socket says whether the database answers and the policy can be used,
the main listener whether clients get through. With `cli.address` there is one door, and it is that server's API.
"""

from http.client import HTTPException
from typing import Any, Final

import click

from headscale.cli.client import Refused, call
from headscale.cli.framework import Command, Failed, session
from headscale.cli.output import show
from headscale.cli.reach import Server
from headscale.config.settings import Config

_UNSPECIFIED: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104


@click.command(cls=Command)
def health() -> int:
    """Ask the running server whether all is well: 0 when it works, 1 with what is wrong when it does not.

    A policy that cannot be used is a warning and no failure: starting anew would not mend it.
    """
    config = session().config()
    found, problems = _asked()
    if not problems and not config.cli_address and config.listen.port:
        url = listener_url(config)
        found |= {"listener": url}
        problems += _listens(url, config.cli_timeout.total_seconds())
    policy = found.get("policyProblem")
    words = "; ".join(problems) or (f"running, but {policy}" if policy else "ok")
    if not problems:
        show(found | {"status": "warn" if policy else "pass"}, text=words)
        return 0
    if session().output is None:
        raise Failed(words)
    show(found | {"status": "fail", "problems": problems}, text="")
    return 1


def listener_url(config: Config) -> str:
    """Where this machine reaches the main listener; a listener of every address is reached on the loopback."""
    host = config.listen.host
    host = _UNSPECIFIED.get(host) or (f"[{host}]" if ":" in host else host)
    scheme = "https" if config.tls is not None or config.acme is not None else "http"
    return f"{scheme}://{host}:{config.listen.port}"


def _asked() -> tuple[dict[str, Any], list[str]]:
    """What the API says of the server, and what is wrong."""
    try:
        return dict(call("GET", "/api/v1/health")), []
    except Refused as problem:
        return {"databaseConnectivity": False}, [str(problem)]
    except Failed as problem:
        return {}, [str(problem)]


def _listens(url: str, within_s: float) -> list[str]:
    """What is wrong with the main listener. Whose name its certificate has is not asked: here it is the loopback."""
    server = Server(name=url, url=url, is_verified=False)
    try:
        connection = server.connect(within_s)
        try:
            connection.request("GET", "/health", headers={"Connection": "close"})
            status = connection.getresponse().status
        finally:
            connection.close()
    except TimeoutError:
        return [f"the main listener at {url} does not answer within {within_s:g} s"]
    except (OSError, HTTPException) as problem:
        return [
            f"nobody answers at the main listener, {url}: {getattr(problem, 'strerror', None) or problem}"
        ]
    return [] if status == 200 else [f"the main listener at {url} says that the server is ill ({status})"]
