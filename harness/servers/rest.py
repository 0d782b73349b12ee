"""The administrator's door of a server on this host: REST v1 on its Unix socket."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from harness.servers.base import (
    AdminRefused,
    AuthKey,
    ServerAbility,
    ServerNode,
    ServerUser,
    node_from_v1,
    user_from_v1,
)

CALL_SECONDS = 10.0


class RestAdmin:
    """See Admin. The socket may come and go with its server."""

    abilities = frozenset(ServerAbility)

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def create_user(self, name: str) -> str:
        user = await self.call("POST", "user", {"name": name})
        return str(user["user"]["id"])

    async def users(self) -> list[ServerUser]:
        return [user_from_v1(user) for user in (await self.call("GET", "user"))["users"]]

    async def create_key(
        self,
        user_id: str,
        *,
        reusable: bool,
        ephemeral: bool,
        lifetime: timedelta,
        tags: Sequence[str],
    ) -> AuthKey:
        body = {
            "user": user_id,
            "reusable": reusable,
            "ephemeral": ephemeral,
            "expiration": (datetime.now(UTC) + lifetime).isoformat(),
            "aclTags": list(tags),
        }
        key = (await self.call("POST", "preauthkey", body))["preAuthKey"]
        return AuthKey(str(key["id"]), key["key"])

    async def create_oauth_client(self, *, scopes: Sequence[str], tags: Sequence[str]) -> AuthKey:
        body = {"keyType": "client", "scopes": list(scopes), "tags": list(tags)}
        client = await self.call("POST", "tailnet/-/keys", body, version="v2")
        return AuthKey(client["id"], client["key"])

    async def expire_key(self, key_id: str) -> None:
        await self.call("POST", "preauthkey/expire", {"id": key_id})

    async def delete_key(self, key_id: str) -> None:
        await self.call("DELETE", f"preauthkey?id={key_id}")

    async def nodes(self) -> list[ServerNode]:
        return [node_from_v1(node) for node in (await self.call("GET", "node"))["nodes"]]

    async def rename_node(self, node_id: str, name: str) -> None:
        await self.call("POST", f"node/{node_id}/rename/{quote(name, safe='')}")

    async def delete_node(self, node_id: str) -> None:
        await self.call("DELETE", f"node/{node_id}")

    async def expire_node(self, node_id: str, *, at: datetime | None = None) -> None:
        await self.call("POST", f"node/{node_id}/expire", {"expiry": at.isoformat()} if at else None)

    async def never_expire_node(self, node_id: str) -> None:
        await self.call("POST", f"node/{node_id}/expire", {"disableExpiry": True})

    async def set_tags(self, node_id: str, tags: Sequence[str]) -> None:
        await self.call("POST", f"node/{node_id}/tags", {"tags": list(tags)})

    async def approve_routes(self, node_id: str, routes: Sequence[str]) -> None:
        await self.call("POST", f"node/{node_id}/approve_routes", {"routes": list(routes)})

    async def let_in(self, login_id: str, user_name: str) -> None:
        await self.call("POST", "auth/register", {"authId": login_id, "user": user_name})

    async def turn_away(self, login_id: str) -> None:
        await self.call("POST", "auth/reject", {"authId": login_id})

    async def confirm_session(self, check_id: str) -> None:
        await self.call("POST", "auth/approve", {"authId": check_id})

    async def set_device_approval(self, *, on: bool) -> None:
        await self.call("PATCH", "settings", {"deviceApproval": on})

    async def authorize_node(self, node_id: str) -> None:
        await self.call("POST", f"node/{node_id}/authorize")

    async def ping_node(self, node_id: str) -> bool:
        return bool((await self.call("POST", f"node/{node_id}/ping"))["answered"])

    async def set_policy(self, text: str) -> None:
        await self.call("PUT", "policy", {"policy": text})

    async def call(
        self, method: str, path: str, body: object = None, *, version: str = "v1"
    ) -> dict[str, Any]:
        """Whatever else REST has; `path` is what follows /api/v1/. Raises AdminRefused."""
        connector = aiohttp.UnixConnector(str(self._socket))
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        async with aiohttp.ClientSession("http://server", connector=connector, timeout=timeout) as client:
            async with client.request(method, f"/api/{version}/{path}", json=body) as answer:
                document: dict[str, Any] = await answer.json(content_type=None)
                if answer.status != 200:
                    why = document.get("detail") or document.get("message")
                    raise AdminRefused(f"{method} {path}: {answer.status} {why}")
                return document
