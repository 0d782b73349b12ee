"""Chooses where machines run: containers when an engine answers, else processes; and says why."""

import os
from collections.abc import Mapping

from harness.backends.network import Backend
from harness.backends.process import ProcessBackend
from harness.cache import Cache, cache_root
from harness.errors import HarnessError, Missing
from harness.progress import Report, to_stderr
from harness.provision import Provisioner

NAMES = ("container", "netns", "process")


def choose(
    name: str | None = None, *, report: Report = to_stderr, environ: Mapping[str, str] = os.environ
) -> Backend:
    """The named backend, or the better one that works here.

    Raises Missing when the named one cannot work on this machine. Blocks for a few seconds at most.
    """
    cache = Cache(cache_root(environ), report=report)
    provisioner = Provisioner(cache, report=report, environ=environ)
    if name == "process":
        return ProcessBackend(provisioner, why="it was asked for")
    if name == "netns":
        return _netns(provisioner, report)
    if name not in (None, "container"):
        raise HarnessError(f"backend {name!r} is not known; known are {', '.join(NAMES)}")
    try:
        return _container(
            provisioner, cache, report, why="it was asked for" if name else "a Docker engine answers"
        )
    except (Missing, ImportError) as error:
        if name is not None:
            raise
        return ProcessBackend(provisioner, why=str(error))


def _container(provisioner: Provisioner, cache: Cache, report: Report, *, why: str) -> Backend:
    from harness.backends import (  # know Docker; a machine without it must not need the packages
        container,
        engine,
    )

    return container.ContainerBackend(engine.connect(), provisioner, cache, report=report, why=why)


def _netns(provisioner: Provisioner, report: Report) -> Backend:
    from harness.backends import namespaces, netns  # Linux alone has them

    namespaces.check_usable()
    return netns.NetnsBackend(provisioner, report=report, why="it was asked for")
