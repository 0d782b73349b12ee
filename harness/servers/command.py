"""The administrator's door of any server that has the `headscale` command, ours or the peer's."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from harness.backends.base import Completed
from harness.servers.base import (
    AdminRefused,
    AuthKey,
    ServerAbility,
    ServerNode,
    ServerUser,
    node_from_v1,
    user_from_v1,
)

STDIN = "/dev/stdin"


class Run(Protocol):
    """Runs `headscale` with these arguments where the server is."""

    async def __call__(self, args: Sequence[str], *, stdin: str = "") -> Completed:
        """The command's end; `stdin` is what it reads."""


def command_here(variables: Mapping[str, str]) -> Run:
    """Our own `headscale` on this host, for a server to which these variables of the environment lead it."""

    async def run(args: Sequence[str], *, stdin: str = "") -> Completed:
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headscale.cli.main", *args),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **variables},
        )
        out, err = await process.communicate(stdin.encode())
        code = process.returncode or 0
        return Completed(tuple(args), code, out.decode(), err.decode(), time.monotonic() - begun)

    return run


class CommandAdmin:
    """See Admin."""

    abilities = frozenset(ServerAbility)

    def __init__(self, run: Run) -> None:
        self._run = run

    async def create_user(self, name: str) -> str:
        return str((await self._call("users", "create", name))["id"])

    async def users(self) -> list[ServerUser]:
        return [user_from_v1(user) for user in await self._call("users", "list") or ()]

    async def create_key(
        self,
        user_id: str,
        *,
        reusable: bool,
        ephemeral: bool,
        lifetime: timedelta,
        tags: Sequence[str],
    ) -> AuthKey:
        args = ["preauthkeys", "create", "--user", user_id]
        args += ["--expiration", f"{max(1, round(lifetime.total_seconds()))}s"]
        args += ["--reusable"] if reusable else []
        args += ["--ephemeral"] if ephemeral else []
        args += ["--tags", ",".join(tags)] if tags else []
        key = await self._call(*args)
        return AuthKey(str(key["id"]), key["key"])

    async def create_oauth_client(self, *, scopes: Sequence[str], tags: Sequence[str]) -> AuthKey:
        args = [word for scope in scopes for word in ("--scope", scope)]
        args += [word for tag in tags for word in ("--tag", tag)]
        client = await self._call("oauth-clients", "create", *args)
        return AuthKey(client["id"], client["key"])

    async def expire_key(self, key_id: str) -> None:
        await self._call("preauthkeys", "expire", "--id", key_id)

    async def delete_key(self, key_id: str) -> None:
        await self._call("preauthkeys", "delete", "--id", key_id)

    async def nodes(self) -> list[ServerNode]:
        return [node_from_v1(node) for node in await self._call("nodes", "list") or ()]

    async def rename_node(self, node_id: str, name: str) -> None:
        await self._call("nodes", "rename", "--identifier", node_id, name)

    async def delete_node(self, node_id: str) -> None:
        await self._call("nodes", "delete", "--identifier", node_id, "--force")

    async def expire_node(self, node_id: str, *, at: datetime | None = None) -> None:
        when = ["--expiry", at.isoformat()] if at else []
        await self._call("nodes", "expire", "--identifier", node_id, *when)

    async def never_expire_node(self, node_id: str) -> None:
        await self._call("nodes", "expire", "--identifier", node_id, "--disable")

    async def set_tags(self, node_id: str, tags: Sequence[str]) -> None:
        await self._call("nodes", "tag", "--identifier", node_id, "--tags", ",".join(tags))

    async def approve_routes(self, node_id: str, routes: Sequence[str]) -> None:
        await self._call("nodes", "approve-routes", "--identifier", node_id, "--routes", ",".join(routes))

    async def let_in(self, login_id: str, user_name: str) -> None:
        await self._call("auth", "register", "--auth-id", login_id, "--user", user_name)

    async def turn_away(self, login_id: str) -> None:
        await self._call("auth", "reject", "--auth-id", login_id)

    async def confirm_session(self, check_id: str) -> None:
        await self._call("auth", "approve", "--auth-id", check_id)

    async def set_device_approval(self, *, on: bool) -> None:
        await self._call("settings", "set", "--device-approval", "on" if on else "off")

    async def authorize_node(self, node_id: str) -> None:
        await self._call("nodes", "approve", "--identifier", node_id)

    async def ping_node(self, node_id: str) -> bool:
        try:
            return bool((await self._call("nodes", "ping", "--identifier", node_id))["answered"])
        except AdminRefused:  # its exit code says no
            return False

    async def set_policy(self, text: str) -> None:
        await self._call("policy", "set", "--file", STDIN, stdin=text)

    async def _call(self, *args: str, stdin: str = "") -> Any:
        done = await self._run([*args, "--output", "json"], stdin=stdin)
        if done.code != 0:
            raise AdminRefused(f"headscale {' '.join(args)}: {done.output}")
        return json.loads(done.stdout) if done.stdout.strip() else {}
