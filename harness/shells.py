"""SSH between devices of a tailnet, with the machine's own `ssh` and `tailscale up --ssh` at the other end.

Needs machines of their own (Capability.TUN): tailscaled lets in users of the machine that it runs on.
"""

import asyncio
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from harness.backends.base import Completed
from harness.clients.tailscaled import TailscaledClient
from harness.errors import HarnessError
from harness.wait import RECHECK_SECONDS, Budget

SERVE: Final = "--ssh"
_OPTIONS: Final = (
    *("-o", "StrictHostKeyChecking=no"),
    *("-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "BatchMode=yes"),
    *("-o", "ConnectTimeout=10"),
    *("-o", "LogLevel=INFO"),
)
_URL: Final = re.compile(r"https?://\S+/auth/\S+")
WHO: Final = "echo $(id -un) at $(cat /proc/sys/kernel/hostname)"
# A refusal comes at once; what a packet filter drops takes the time of a connection attempt.
PATIENCE: Final = timedelta(seconds=30)


async def add_account(client: TailscaledClient, name: str) -> None:
    """An account on the client's machine."""
    done = await client.machine.exec(
        ["sh", "-c", f"id {name} >/dev/null 2>&1 || useradd -m -s /bin/sh {name}"], timeout=PATIENCE
    )
    if done.code != 0:
        raise HarnessError(f"no account {name} on {client.name}: {done.output}")


async def host_of(client: TailscaledClient) -> str:
    """What the client's machine calls itself."""
    done = await client.machine.exec(["cat", "/proc/sys/kernel/hostname"], timeout=PATIENCE)
    return done.stdout.strip()


def command(target: TailscaledClient, user: str, words: str = WHO) -> list[str]:
    """What somebody types to run words on another device."""
    return ["ssh", *_OPTIONS, f"{user}@{target.address(4)}", words]


async def ssh(source: TailscaledClient, target: TailscaledClient, user: str) -> Completed:
    """Run `WHO` on the target as this user."""
    return await source.machine.exec(command(target, user), timeout=PATIENCE)


async def logs_in_as(source: TailscaledClient, target: TailscaledClient, user: str) -> None:
    """Raises AssertionError unless the session is the user's on the target's machine."""
    done = await ssh(source, target, user)
    assert done.stdout.strip() == f"{user} at {await host_of(target)}", done.output


async def is_refused(source: TailscaledClient, target: TailscaledClient, user: str) -> str:
    """Raises AssertionError unless no session comes about; what the user reads."""
    done = await ssh(source, target, user)
    assert done.code != 0, done.output
    assert f"{user} at " not in done.stdout, done.output  # where reasons may stand, too
    return done.output


@dataclass(frozen=True, slots=True)
class HeldSession:
    """An `ssh` that waits; `url` is where it can be confirmed."""

    source: TailscaledClient
    target: TailscaledClient
    user: str
    name: str
    url: str

    @property
    def check_id(self) -> str:
        """The id under which it waits."""
        return self.url.rpartition("/")[2]

    @property
    def said(self) -> str:
        """All that its user has read."""
        return (self.source.machine.data / f"{self.name}.log").read_text(errors="replace")

    async def ends(self, within: timedelta = PATIENCE) -> int:
        """Wait for its end; the exit code."""
        return await asyncio.wait_for(self.source.machine.ended(self.name), within.total_seconds())

    async def goes_on(self) -> None:
        """Raises AssertionError unless it is let in now."""
        assert await self.ends() == 0, self.said
        assert f"{self.user} at {await host_of(self.target)}" in self.said, self.said

    async def is_turned_away(self) -> None:
        """Raises AssertionError unless it ends without a session."""
        assert await self.ends() != 0, self.said
        assert f"{self.user} at " not in self.said, self.said


async def is_held(
    source: TailscaledClient, target: TailscaledClient, user: str, *, name: str = "ssh"
) -> HeldSession:
    """Start a session that is to wait; returns when its user has read the address that confirms it."""
    (source.machine.data / f"{name}.log").unlink(missing_ok=True)
    await source.machine.spawn(name, command(target, user))
    held = HeldSession(source, target, user, name, "")
    async with asyncio.timeout(Budget.SYNC.seconds):
        while (found := _URL.search(held.said if _has_log(held) else "")) is None:
            if not source.machine.is_running(name):
                raise AssertionError(f"the session was not held: {held.said}")
            await asyncio.sleep(RECHECK_SECONDS)
    return HeldSession(source, target, user, name, found[0])


def _has_log(held: HeldSession) -> bool:
    return (held.source.machine.data / f"{held.name}.log").exists()
