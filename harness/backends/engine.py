"""The Docker engine: images, calls that must not hold up the event loop, and what runs in the host's own network.

With container.py the only module that knows Docker.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import docker
from docker.errors import ContainerError, DockerException, ImageNotFound, NotFound

from harness.errors import HarnessError, Missing
from harness.runs import here, is_dead, is_named

R = TypeVar("R")

LABEL = "headscale-harness.run"
"""Whose a container or network is."""

PLACE = "headscale-harness.place"
"""Where that name counts: an engine may be shared by machines that do not see each other's processes."""

ENGINE_SECONDS = 60
"""One call of the engine: starting a container on a loaded machine takes seconds."""

PING_SECONDS = 5

CALLS_AT_ONCE = 4
"""Engine calls under way; more only queue inside the daemon."""


class DockerEngine:
    """The engine's client, for images and for what testcontainers leaves out. All of it blocks."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def has_image(self, reference: str) -> bool:
        try:
            self.client.images.get(reference)
        except ImageNotFound:
            return False
        return True

    def offered(self, reference: str, *, patience: timedelta) -> bool:
        brief = docker.from_env(timeout=patience.total_seconds())
        try:
            brief.api.inspect_distribution(reference)
        except (DockerException, OSError):
            return False
        finally:
            brief.close()
        return True

    def pull(self, reference: str) -> None:
        self.client.images.pull(reference)

    def import_rootfs(self, archive: Path, reference: str) -> None:
        repository, _, tag = reference.rpartition(":")
        self.client.api.import_image_from_file(str(archive), repository=repository, tag=tag)

    def on_host(self, image: str, script: str, *, label: dict[str, str]) -> None:
        """Run a shell script in the host's own network, with the image's programs. Raises HarnessError."""
        try:
            self.client.containers.run(
                image,
                [script],
                entrypoint=["sh", "-ec"],
                network_mode="host",
                cap_add=["NET_ADMIN"],
                labels=label,
                remove=True,
                stderr=True,
            )
        except ContainerError as error:
            said = (error.stderr or b"").decode(errors="replace").strip()
            raise HarnessError(
                f"in the host's network {script!r} ended with {error.exit_status}: {said}"
            ) from error


def labels(run: str) -> dict[str, str]:
    """Of everything that a run makes in the engine."""
    return {LABEL: run, PLACE: here()}


@dataclass(frozen=True, slots=True)
class Labelled:
    """A container or network of a run that has ended."""

    kind: str
    name: str
    run: str
    remove: Callable[[], None]


def labelled(engine: DockerEngine) -> tuple[list[Labelled], list[str]]:
    """Containers and networks of runs that have ended, and in words those of which that cannot be told. Blocks."""
    found: list[Labelled] = []
    kept: list[str] = []
    chosen = {"filters": {"label": LABEL}}
    containers = [
        ("container", each, each.labels) for each in engine.client.containers.list(all=True, **chosen)
    ]
    networks = [
        ("network", each, each.attrs["Labels"] or {}) for each in engine.client.networks.list(**chosen)
    ]
    for kind, thing, marks in [*containers, *networks]:
        run, place = marks.get(LABEL, ""), marks.get(PLACE, "")
        if not place:
            kept.append(f"{kind} {thing.name}: its run {run} does not say where it was")
        elif place != here():
            kept.append(
                f"{kind} {thing.name}: its run is on {place.partition('/')[0]}, or before the last start of it"
            )
        elif not is_named(run):
            kept.append(f"{kind} {thing.name}: its run {run} does not say which process it was")
        elif is_dead(run):
            found.append(Labelled(kind, thing.name, run, partial(_remove, kind, thing)))
    return found, kept


def _remove(kind: str, thing: Any) -> None:
    with contextlib.suppress(NotFound):
        if kind == "container":
            thing.remove(force=True, v=True)
        else:
            thing.remove()


def connect() -> DockerEngine:
    """The engine that the environment names. Raises Missing, with the reason, when none answers."""
    try:
        client = docker.from_env(timeout=PING_SECONDS)
        client.ping()
        client.close()
        return DockerEngine(docker.from_env(timeout=ENGINE_SECONDS))
    except (DockerException, OSError) as error:
        raise Missing(
            f"no Docker engine answers ({error}); start one or choose the process backend"
        ) from error


class Caller:
    """Runs blocking engine calls on a few threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="docker")

    async def __call__(self, function: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
