"""What systemd, or anything that speaks its protocol, is told and gives: readiness, a watchdog, open sockets.

Readiness is said when everything listens, so that `systemctl start` returns to a server that answers. The watchdog is
fed by the event loop: a loop that hangs is a server that hangs. With sockets of systemd's the listener outlives the
server, and a restart refuses nobody: who comes meanwhile waits.
Source: sd_notify(3), sd_listen_fds(3), systemd.socket(5) of systemd 252.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Final

from headscale.errors import Malformed

log = logging.getLogger(__name__)

FIRST_FD: Final = 3
MAIN: Final = "headscale"
METRICS: Final = "headscale-metrics"
NAMES: Final = (MAIN, METRICS)
VARIABLES: Final = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Who started us. Without one nothing is said, and there are no sockets."""

    address: str = ""
    """The datagram socket to which we talk; `@` begins an abstract name."""
    watchdog_s: float = 0.0
    """We are restarted when we say nothing for so long; 0 without a watchdog."""
    sockets: Mapping[str, socket.socket] = field(default_factory=dict)
    """Listening sockets by name (FileDescriptorName=)."""

    def say(self, *lines: str) -> None:
        """Tell it, such as `READY=1`. Nobody stops because it is gone."""
        if not self.address:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.sendto("\n".join(lines).encode(), address)
        except OSError as problem:
            log.warning("the supervisor at %s was not told: %s", self.address, problem.strerror)

    async def feed_watchdog(self) -> None:
        """Say that we live, for ever; at once back without a watchdog."""
        while self.watchdog_s:
            self.say("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 2)


def supervisor(environment: Mapping[str, str], *, pid: int) -> Supervisor:
    """What the environment says of it. Raises Malformed for sockets that we have no use for."""
    mine = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
    return Supervisor(
        address=environment.get("NOTIFY_SOCKET", ""),
        watchdog_s=_number(environment, "WATCHDOG_USEC") / 1_000_000 if mine else 0.0,
        sockets=_sockets(environment, pid=pid),
    )


def forget(environment: MutableMapping[str, str]) -> None:
    """What is meant for us alone is not for programs that we start."""
    for name in VARIABLES:
        environment.pop(name, None)


def _sockets(environment: Mapping[str, str], *, pid: int) -> dict[str, socket.socket]:
    if environment.get("LISTEN_PID") != str(pid):
        return {}
    count = _number(environment, "LISTEN_FDS")
    names = environment.get("LISTEN_FDNAMES", "").split(":") if environment.get("LISTEN_FDNAMES") else []
    found: dict[str, socket.socket] = {}
    for index in range(count):
        given = names[index].removesuffix(".socket") if index < len(names) else MAIN
        name = MAIN if given in ("unknown", "") else given
        opened = socket.socket(fileno=FIRST_FD + index)
        os.set_inheritable(opened.fileno(), False)
        if name not in NAMES or name in found or opened.type != socket.SOCK_STREAM:
            raise Malformed(
                f"the supervisor gives a socket called {given!r} which is of no use here: name one TCP socket"
                f" {MAIN!r} and, if you like, another one {METRICS!r} (FileDescriptorName= in the socket unit)"
            )
        found[name] = opened
    return found


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name) or "0"
    if not (text.isascii() and text.isdecimal()):
        raise Malformed(f"{name} is {text!r}, which is not a number")
    return int(text)
