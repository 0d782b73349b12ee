"""Asks identity providers again about people who are in: whoever may not be any more is cut off, and groups follow.

Only an answer counts. A provider that is away, or does not know this server any more, changes nothing.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Final

from headscale.clock import Clock
from headscale.config.oidc import plain_issuer
from headscale.errors import HeadscaleError, Refused, Unavailable
from headscale.login.oidc.identity import check_again
from headscale.login.oidc.provider import Provider
from headscale.login.oidc.signin import SignIn
from headscale.records import User
from headscale.sealing import Sealer
from headscale.state.acts import audited
from headscale.state.people import end_keys_of, forget_grant, meet
from headscale.state.writer import Writer

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
# What somebody else's trouble costs: the next try comes sooner than the next turn.
RETRIES_PER_INTERVAL: Final = 4


class Recheck:
    """One server's. People are asked about one after the other, each at a time of their own.

    `on_cut_off` is told the user who may not be here any more.
    """

    def __init__(
        self,
        sign_in: SignIn,
        writer: Writer,
        sealer: Sealer,
        clock: Clock,
        *,
        on_cut_off: Callable[[int], None],
    ) -> None:
        self._sign_in = sign_in
        self._writer = writer
        self._sealer = sealer
        self._clock = clock
        self._on_cut_off = on_cut_off
        self._due: dict[int, float] = {}

    async def run(self) -> None:
        """Ask for ever. One task runs this for the life of the server."""
        while True:
            await asyncio.sleep(LOOK_S)
            for user in [user for user in self._writer.snapshot.users.values() if user.sealed_refresh]:
                provider = self._provider_of(user)
                if provider is not None and self._is_due(user, provider):
                    await self.ask(user, provider)

    async def ask(self, user: User, provider: Provider) -> None:
        """Ask about this person now, and do what follows."""
        try:
            await self._ask(user, provider)
        except Refused as refusal:
            await self._cut_off(user, provider, str(refusal))
        except HeadscaleError as problem:
            log.warning(
                "not asked about a person user=%d provider=%s: %s", user.id, provider.settings.name, problem
            )
            self._due[user.id] = self._clock.monotonic() + _interval_s(provider) / RETRIES_PER_INTERVAL

    async def _ask(self, user: User, provider: Provider) -> None:
        tokens = await provider.refresh(self._sealer.open(user.sealed_refresh))
        if tokens.refresh_token:  # the one that was used may be good no more
            sealed = self._sealer.seal(tokens.refresh_token)
            await self._writer.apply(partial(forget_grant, user_id=user.id, instead=sealed))
        issuer = (await provider.metadata()).issuer
        subject = (user.provider_identifier or "").removeprefix(f"{plain_issuer(issuer)}/")
        if tokens.claims:
            check_again(tokens.claims, provider=provider.settings, issuer=issuer, subject=subject)
        profile, _ = await self._sign_in.profile_of(
            provider, issuer, tokens.claims or {"sub": subject}, tokens.access_token, needs_userinfo=True
        )
        await self._writer.apply(
            audited(partial(meet, profile=profile), actor=_actor(provider), action="user.refresh")
        )

    async def _cut_off(self, user: User, provider: Provider, why: str) -> None:
        """The keys of all their devices end; they may log in again, if the provider lets them."""
        actor = _actor(provider)
        self._on_cut_off(user.id)
        try:
            step = audited(
                partial(end_keys_of, user_id=user.id), actor=actor, action="user.logout", details=why
            )
            ended = await self._writer.apply(step)
            await self._writer.apply(partial(forget_grant, user_id=user.id))
        except Unavailable as problem:
            log.warning("a person is not cut off yet user=%d: %s", user.id, problem)
            return
        log.info("person cut off user=%d nodes=%d reason=%s", user.id, len(ended), why)

    def _provider_of(self, user: User) -> Provider | None:
        for provider in self._sign_in.providers.values():
            if (user.provider_identifier or "").startswith(f"{plain_issuer(provider.settings.issuer)}/"):
                return provider if provider.settings.recheck is not None else None
        return None

    def _is_due(self, user: User, provider: Provider) -> bool:
        """After a start people are spread over an interval, so that nobody is asked about all at once."""
        now, interval = self._clock.monotonic(), _interval_s(provider)
        due = self._due.setdefault(user.id, now + random.uniform(0, interval))  # noqa: S311
        if due > now:
            return False
        self._due[user.id] = now + interval
        return True


def _interval_s(provider: Provider) -> float:
    assert provider.settings.recheck is not None
    return provider.settings.recheck.total_seconds()


def _actor(provider: Provider) -> str:
    return f"identity provider {provider.settings.name}"
