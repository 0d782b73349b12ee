"""Files between clients (Taildrop), sent and fetched as their users do."""

import asyncio
import secrets
from dataclasses import dataclass

from harness.clients.base import Client, CliResult
from harness.errors import HarnessError, NotAnswering
from harness.wait import Budget, Condition, until


class Targets:
    """Whom a client offers to send files to, by address: a Source."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def name(self) -> str:
        """Whose list it is."""
        return f"{self._client.name}, asked for targets of files,"

    async def read(self) -> frozenset[str]:
        """The addresses now. Raises NotAnswering with what the client says when it has no list."""
        listed = await self._client.cli("file", "cp", "--targets")
        if not listed.ok:
            raise NotAnswering(listed.message)
        return frozenset(line.split("\t")[0] for line in listed.message.splitlines() if "\t" in line)

    async def changed(self, within: float) -> None:
        """There is no event for it."""
        await asyncio.sleep(within)


async def until_targets(client: Client, targets: list[Client], budget: Budget = Budget.SYNC) -> None:
    """Wait until these are exactly the clients that it may send to."""
    wanted = frozenset(str(target.address(4)) for target in targets)
    exactly: Condition[frozenset[str]] = Condition(
        f"lists {sorted(wanted)}", lambda found: None if found == wanted else f"lists {sorted(found)}"
    )
    await until(Targets(client), exactly, budget)


@dataclass(frozen=True, slots=True)
class Sent:
    """A file on its way, and what its sender was told."""

    name: str
    content: bytes
    result: CliResult


async def send(sender: Client, target: Client) -> Sent:
    """`tailscale file cp` of a file that is like no other."""
    name, content = f"{secrets.token_hex(4)}.bin", secrets.token_bytes(70_000)
    (sender.machine.data / name).write_bytes(content)
    result = await sender.cli("file", "cp", sender.machine.path(name), f"{target.address(4)}:")
    return Sent(name, content, result)


def holds(client: Client, sent: Sent) -> bool:
    """Whether the file, or the beginning of it, waits in the client's inbox to be fetched (in its state folder)."""
    return any((client.machine.data / "state").rglob(f"{sent.name}*"))


async def fetch(client: Client) -> dict[str, bytes]:
    """`tailscale file get`: what waits in the inbox, by name.

    There must be something: 1.80.3 waits for a file although it was not told to (ipn/localapi, serveFiles).
    """
    folder = f"inbox-{secrets.token_hex(4)}"
    (client.machine.data / folder).mkdir()
    done = await client.cli("file", "get", client.machine.path(folder))
    if not done.ok:
        raise HarnessError(f"{client.name}: {done.command} ended with {done.code}: {done.message}")
    return {path.name: path.read_bytes() for path in (client.machine.data / folder).iterdir()}
