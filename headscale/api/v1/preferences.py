"""/api/v1/settings: what administrators decide while the server runs (ours; the peer has none)."""

from functools import partial

import msgspec
from aiohttp import web

from headscale.api.acts import Acts
from headscale.api.v1.body import answer, read_body
from headscale.state.preferences import set_device_approval


class Settings(msgspec.Struct, frozen=True, rename="camel"):
    """What may be changed; what is absent stays."""

    device_approval: bool | None = None


class SettingsShown(msgspec.Struct, frozen=True, rename="camel"):
    """What is in force."""

    device_approval: bool


class PreferencesApi:
    """Get and change."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [web.get("/api/v1/settings", self.get), web.patch("/api/v1/settings", self.patch)]

    async def get(self, request: web.Request) -> web.Response:
        """All of them."""
        return self._shown()

    async def patch(self, request: web.Request) -> web.Response:
        """Change those that are named; a 409 where the configuration decides."""
        asked = await read_body(request, Settings)
        if asked.device_approval is not None:
            await self._acts.apply(
                request, "settings.change", partial(set_device_approval, on=asked.device_approval)
            )
        return self._shown()

    def _shown(self) -> web.Response:
        return answer(SettingsShown(device_approval=self._acts.snapshot.needs_approval))
