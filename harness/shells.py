"""SSH between devices of a tailnet, with the machine's own `ssh` and `tailscale up --ssh` at the other end.

Needs machines of their own (Capability.TUN): tailscaled lets in users of the machine that it runs on.
"""

import asyncio
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from harness.backends.base import Completed
from harness.clients.tailscaled import TailscaledClient
from harness.errors import HarnessError
from harness.filters import Filter, Netmap
from harness.policies import Rule, acl, policy, ssh
from harness.tailnet import Tailnet
from harness.wait import RECHECK_SECONDS, Budget, Condition, until

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
ACCOUNTS: Final = ("ssh-user",)
"""Those on a machine that serves SSH, beside root."""
OPEN: Final = (acl("*", "*:*"),)
"""What lets all packets through, so that only rules about SSH decide."""
AT_ONCE: Final = 4
"""Sessions that begin at the same moment: more would wait for the machine, not for the server."""
# A refusal comes at once; what a packet filter drops takes the time of a connection attempt.
PATIENCE: Final = timedelta(seconds=30)


async def device(tailnet: Tailnet, user: str, name: str, **more: Any) -> TailscaledClient:
    """A device from which somebody logs in elsewhere; `more` is `Tailnet.join`'s."""
    client = await tailnet.join(user, name=name, **more)
    if not isinstance(client, TailscaledClient):
        raise HarnessError(f"{client.name} has no ssh command of its own")
    return client


async def ssh_server(
    tailnet: Tailnet, user: str, name: str, *, accounts: Sequence[str] = ACCOUNTS, **more: Any
) -> TailscaledClient:
    """A device that serves SSH, with these accounts beside root."""
    client = await device(tailnet, user, name, extra=[SERVE], **more)
    for account in accounts:
        await add_account(client, account)
    return client


async def set_ssh_policy(
    tailnet: Tailnet, *rules: Rule, packets: Sequence[Rule] = OPEN, **sections: Any
) -> None:
    """Put rules about SSH in force; returns when every client that is there has them, and the packet filter too.

    A policy's rules are known by an account of its own in one more of them, which is on no machine. `sections` are
    `harness.policies.policy`'s.
    """
    account = f"of-policy-{secrets.token_hex(4)}"
    mark = ssh("autogroup:member", to=["autogroup:member", "autogroup:tagged"], users=account)
    await tailnet.set_policy(policy(*packets, *rules, mark, **sections))

    def why_not(netmap: Netmap) -> str | None:
        known = [user for rule in _rules_of(netmap) for user in rule.get("sshUsers") or {}]
        return None if account in known else f"its rules are about {sorted(set(known))}"

    condition = Condition("has the rules about SSH", why_not)
    await asyncio.gather(*(until(Filter(client), condition, Budget.POLICY) for client in tailnet.clients))


def _rules_of(netmap: Netmap) -> Iterable[Mapping[str, Any]]:
    return (netmap.get("SSHPolicy") or {}).get("rules") or ()


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


def command(target: TailscaledClient, user: str, words: str = WHO, *, sends: str = "") -> list[str]:
    """What somebody types to run words on another device; `sends` are names of variables that go along."""
    options = (*_OPTIONS, "-o", f"SendEnv={sends}") if sends else _OPTIONS
    return ["ssh", *options, f"{user}@{target.address(4)}", words]


async def try_session(source: TailscaledClient, target: TailscaledClient, user: str) -> Completed:
    """Run `WHO` on the target as this user."""
    return await source.machine.exec(command(target, user), timeout=PATIENCE)


async def logs_in_as(source: TailscaledClient, target: TailscaledClient, user: str) -> None:
    """Raises AssertionError unless the session is the user's on the target's machine."""
    done = await try_session(source, target, user)
    assert done.stdout.strip() == f"{user} at {await host_of(target)}", done.output


async def is_refused(source: TailscaledClient, target: TailscaledClient, user: str) -> str:
    """Raises AssertionError unless no session comes about; what the user reads."""
    done = await try_session(source, target, user)
    assert done.code != 0, done.output
    assert f"{user} at " not in done.stdout, done.output  # where reasons may stand, too
    return done.output


Session = tuple[TailscaledClient, TailscaledClient, str]
"""From where, to where, and as whom."""


async def assert_sessions(expected: Mapping[Session, bool]) -> None:
    """Try all of them. Raises AssertionError with each that comes about and should not, or the other way round.

    A *no* counts only for a machine that a *yes* of another session shows serving.
    """
    alive = {target for (_, target, _), may in expected.items() if may}
    if unproved := sorted(
        {target.name for (_, target, _), may in expected.items() if not may and target not in alive}
    ):
        raise HarnessError(f"nobody is to get into {unproved}: that they refuse would show nothing")
    turns = asyncio.Semaphore(AT_ONCE)

    async def why_wrong(session: Session, may: bool) -> str | None:
        source, target, user = session
        try:
            async with turns:
                await (logs_in_as if may else is_refused)(source, target, user)
        except AssertionError as problem:
            said = str(problem).strip() or "no word"
            return f"{source.name} to {target.name} as {user}: expected {'yes' if may else 'no'}, got {said}"
        return None

    found = await asyncio.gather(*(why_wrong(session, may) for session, may in expected.items()))
    wrong = [each for each in found if each is not None]
    assert not wrong, "\n".join(wrong)


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
