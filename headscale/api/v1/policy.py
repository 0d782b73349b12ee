"""/api/v1/policy"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from headscale.api.acts import Acts
from headscale.api.v1.body import answer, parse_id, read_body
from headscale.api.v1.comparison import Pair, compared
from headscale.api.v1.explanation import Question, explained
from headscale.errors import NotFound
from headscale.records import PolicyText
from headscale.sources.policy import PolicySource
from headscale.sources.policyfile import TEXT_MAX_BYTES, TOO_LARGE

# In JSON a line break or quotation mark takes two bytes, what takes more does not make up a text; and what is around.
BODY_MAX_BYTES: Final = 2 * TEXT_MAX_BYTES + 64 * 1024


KeptPolicy = Callable[[int], Awaitable[PolicyText | None]]


class PolicyBody(msgspec.Struct, frozen=True):
    """The body that carries a policy, as text."""

    policy: str = ""


class Policies:
    """Get, set, check; and our own: explain, compare, get an old one."""

    def __init__(self, acts: Acts, source: PolicySource, kept: KeptPolicy) -> None:
        self._acts = acts
        self._source = source
        self._kept = kept

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [
            web.get("/api/v1/policy", self.get),
            web.get("/api/v1/policy/{id}", self.get_kept),
            web.put("/api/v1/policy", self.put),
            web.post("/api/v1/policy/check", self.check),
            web.post("/api/v1/policy/explain", self.explain),
            web.post("/api/v1/policy/diff", self.diff),
        ]

    async def get(self, request: web.Request) -> web.Response:
        """The policy in force, byte for byte. Without one it is a 404, in words that the peer's clients look for."""
        text = self._acts.snapshot.policy_text
        if text is None:
            raise NotFound("acl policy not found: none is set, and everybody may reach everybody")
        return answer(_shown(text))

    async def get_kept(self, request: web.Request) -> web.Response:
        """One that was set, by the id that the audit log names; it need not be in force."""
        policy_id = parse_id(request.match_info["id"], "policy")
        text = await self._kept(policy_id)
        if text is None:
            raise NotFound(f"no policy has the id {policy_id}")
        return answer({"id": str(text.id), **_shown(text)})

    async def put(self, request: web.Request) -> web.Response:
        """Set the policy; answered when it is kept, and nothing older is sent to anyone."""
        text = await _text_of(request)
        row = await self._source.set(text, act=partial(self._acts.in_the_name_of, request, "policy.set"))
        return answer(_shown(row))

    async def check(self, request: web.Request) -> web.Response:
        """Whether it could be set now, its own tests included."""
        await self._source.check(await _text_of(request))
        return answer({})

    async def explain(self, request: web.Request) -> web.Response:
        """Whether one may send something to another, and by which rules, or why not."""
        asked = await read_body(request.clone(client_max_size=BODY_MAX_BYTES), Question)
        _check_size(asked.policy)
        found = await self._source.ask(
            lambda snapshot, policies: explained(snapshot, policies[0], asked), asked.policy
        )
        return answer(found)

    async def diff(self, request: web.Request) -> web.Response:
        """Who gains and who loses access to what, when one policy takes the place of another."""
        asked = await read_body(request.clone(client_max_size=2 * BODY_MAX_BYTES), Pair)
        _check_size(asked.old)
        _check_size(asked.new)
        found = await self._source.ask(
            lambda snapshot, policies: compared(snapshot, *policies), asked.old, asked.new
        )
        return answer(found)


async def _text_of(request: web.Request) -> str:
    body = await read_body(request.clone(client_max_size=BODY_MAX_BYTES), PolicyBody)
    _check_size(body.policy)
    return body.policy


def _check_size(text: str | None) -> None:
    size = len((text or "").encode())
    if size > TEXT_MAX_BYTES:
        raise web.HTTPRequestEntityTooLarge(
            max_size=TEXT_MAX_BYTES, actual_size=size, text=f"{TOO_LARGE}, this one has {size}"
        )


def _shown(text: PolicyText) -> dict[str, Any]:
    return {"policy": text.text, "updatedAt": text.created_at}
