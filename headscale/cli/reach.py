"""Which server the commands talk to: one on this machine by its socket, or with `cli.address` one elsewhere.

An address without a scheme is https. The API key goes to that server and to nobody else: redirections are not followed.
"""

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

from headscale.cli.framework import Failed
from headscale.config.settings import Config

ADDRESS_HELP: Final = "expected for example headscale.example.com or https://headscale.example.com:8443"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where it is; `name` is for people. `socket` is a path, empty for a server elsewhere."""

    name: str
    url: str
    socket: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_verified: bool = True

    def connect(self, within_s: float) -> HTTPConnection:
        """An open connection. Raises OSError, of which TimeoutError says that the time is up."""
        if self.socket:
            made = HTTPConnection("headscale", timeout=within_s)
            made.sock = _unix_socket(self.socket, within_s)
            return made
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme == "http":
            made = HTTPConnection(host, parts.port, timeout=within_s)
            made.sock = _tcp_socket(host, made.port, within_s)
            return made
        context = ssl.create_default_context()
        if not self.is_verified:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        made = HTTPSConnection(host, parts.port, timeout=within_s, context=context)
        plain = _tcp_socket(host, made.port, within_s)
        try:
            made.sock = context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        return made

    def why_not(self, problem: OSError) -> Failed | None:
        """What keeps us from it for good; None for a server that may only be starting."""
        if isinstance(problem, ssl.SSLCertVerificationError):
            return Failed(
                f"the certificate of {self.name} cannot be trusted: {problem.verify_message}. If it is the right "
                "server all the same, set cli.insecure (HEADSCALE_CLI_INSECURE=true)"
            )
        if isinstance(problem, ssl.SSLError):
            return Failed(
                f"{self.name} does not speak TLS: if it has none, say so with http:// in cli.address"
            )
        if self.socket and isinstance(problem, PermissionError):
            return NoServer(f"you may not use {self.name}: run this as the server's user or group")
        return None

    @property
    def silence(self) -> "NoServer":
        """Nobody answers there."""
        if not self.socket:
            return NoServer(f"no server answers at {self.name} (cli.address)")
        return NoServer(
            f"no server answers at {self.name}: start it with `headscale serve`, or name its configuration with -c"
        )


class NoServer(Failed):
    """Nobody answers, or we may not ask."""


def server_of(config: Config) -> Server:
    """The server that this configuration names; raises Failed for one that cannot be asked."""
    if not config.cli_address:
        return Server(name=str(config.unix_socket), url="http://headscale", socket=str(config.unix_socket))
    address = config.cli_address if "://" in config.cli_address else f"https://{config.cli_address}"
    try:
        parts = urlsplit(address)
        is_good = parts.scheme in ("https", "http") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not is_good or parts.username is not None or parts.query or parts.fragment:
        raise Failed(f"cli.address: {ADDRESS_HELP}")
    if not config.cli_api_key:
        raise Failed(
            "HEADSCALE_CLI_API_KEY environment variable needs to be set (or cli.api_key): make a key with "
            "`headscale apikeys create` on the server"
        )
    if not (config.cli_api_key.isascii() and config.cli_api_key.isprintable()):
        raise Failed("cli.api_key is not an API key: a key has letters, digits and dashes")
    url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return Server(
        name=url,
        url=url,
        headers={"Authorization": f"Bearer {config.cli_api_key}"},
        is_verified=not config.cli_insecure,
    )


def _unix_socket(path: str, within_s: float) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(within_s)
        made.connect(path)
    except BaseException:
        made.close()
        raise
    return made


def _tcp_socket(host: str, port: int, within_s: float) -> socket.socket:
    """To the first of the host's addresses that answers; each has its part of the time, so that none takes it all."""
    until = time.monotonic() + within_s
    found = _addresses(host, port, within_s)
    problem: OSError = ConnectionRefusedError(f"{host} has no address")
    for number, (family, kind, protocol, _, address) in enumerate(found):
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(max(until - time.monotonic(), 0.001) / (len(found) - number))
            made.connect(address)
        except OSError as failure:
            made.close()
            problem = failure
        else:
            made.settimeout(max(until - time.monotonic(), 0.001))
            return made
    raise problem


def _addresses(host: str, port: int, within_s: float) -> list[Any]:
    """What the system's resolver says, which knows no time limit of ours: it asks in a thread that we leave behind."""
    found: list[Any] = []
    problems: list[OSError] = []

    def ask() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as problem:
            problems.append(problem)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(within_s)
    if problems:
        raise problems[0]
    if asking.is_alive():
        raise TimeoutError
    return found
