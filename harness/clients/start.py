"""Starts the client that a release stands for."""

from collections.abc import Mapping

from harness.backends.machine import Machine
from harness.clients.base import Ability, Client
from harness.clients.rust.client import RustClient, start_rust_client
from harness.clients.tailscaled import TailscaledClient, start_client
from harness.versions import Release


def abilities(release: Release) -> frozenset[Ability]:
    """What the release's client can do, before there is one."""
    return RustClient.abilities if release.kind == "rust" else TailscaledClient.abilities


async def start(machine: Machine, release: Release, *, env: Mapping[str, str] | None = None) -> Client:
    """A client whose program runs and answers; it is not logged in yet."""
    if release.kind == "rust":
        return await start_rust_client(machine, release, env=env)
    return await start_client(machine, release, env=env)
