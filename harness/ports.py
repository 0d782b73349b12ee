"""Ports for servers that must know theirs beforehand, and that come back to them after a restart.

Never from the range that the kernel gives to outgoing connections: one of those could take the port between
the moment it was found free and the moment it is needed, or while its server is down. Test processes that run beside
each other (pytest-xdist) draw from ranges of their own.
"""

import functools
import itertools
import os
import random
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.errors import HarnessError

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
EPHEMERAL_DEFAULT = 32768
LOWEST = 10240
TRIES = 100


def free_port(host: str, *, udp: bool = False) -> int:
    """A port on this IPv4 address that was free a moment ago. Raises HarnessError.

    This process gets none twice before it had them all: a server draws several before it binds the first.
    """
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    for port in itertools.islice(_drawn(), TRIES):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise HarnessError(f"{TRIES} ports tried on {host}, and none was free")


def own_share(ports: range, environment: Mapping[str, str]) -> range:
    """Those of the ports that no other process of this test run draws from."""
    number = int(environment.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(environment.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    each = len(ports) // max(count, number + 1)
    return ports[number * each : (number + 1) * each]


@functools.cache
def _drawn() -> Iterator[int]:
    """This process's ports in a random order, again and again."""
    ports = own_share(range(LOWEST, _first_ephemeral()), os.environ)
    return itertools.cycle(random.sample(ports, len(ports)))


def _first_ephemeral() -> int:
    try:
        first = int(EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return EPHEMERAL_DEFAULT
    return first if first > 2 * LOWEST else EPHEMERAL_DEFAULT
