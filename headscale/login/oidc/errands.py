"""What a person logs in for: to let a device in, or to say that an SSH session is theirs."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from headscale.errors import NotFound, Refused
from headscale.login.checks import Check, PendingChecks
from headscale.login.device import device_rows, session_rows, session_text
from headscale.login.pending import PendingLogin, PendingLogins
from headscale.state.acts import audited
from headscale.state.admission import Registered
from headscale.state.audit import note
from headscale.state.people import Profile, log_in_person
from headscale.state.writer import Writer

NOT_THEIRS: Final = "somebody said that this is not their device"
NOT_MINE: Final = "somebody said that this session is not theirs"


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of the pages that ask, and that say what became of it."""

    title: str
    question: str
    yes: str
    done: str
    turned_away: str


OF_DEVICE: Final = Words(
    "Connect this device?",
    "Is this device yours, and did you just ask for this on it? If somebody sent you here, say no.",
    "Yes, connect it",
    "The device is connected",
    "The device was turned away",
)
OF_SESSION: Final = Words(
    "Confirm this SSH session?",
    "Did you just start this session yourself? If somebody sent you here, say no.",
    "Yes, it is me",
    "The session is confirmed",
    "The session was turned away",
)


class Errand(Protocol):
    """One thing that waits for a person."""

    @property
    def words(self) -> "Words":
        """What the pages say."""

    def rows(self) -> list[tuple[str, str]]:
        """Names and values, as text."""

    def check_person(self, profile: Profile) -> None:
        """Raises Refused for a person who has no say in it."""

    async def accept(self, profile: Profile, expiry: datetime | None) -> None:
        """The person says yes. Raises what keeps it from being done."""

    async def refuse(self, profile: Profile) -> None:
        """The person says no."""


class Errands(Protocol):
    """All of one kind that wait."""

    def find(self, errand_id: str) -> Errand:
        """The one with this id; raises Malformed or NotFound."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A device asks to join."""

    login: PendingLogin
    logins: PendingLogins
    writer: Writer
    words: Words = OF_DEVICE

    def rows(self) -> list[tuple[str, str]]:
        return device_rows(self.login.request)

    def check_person(self, profile: Profile) -> None:
        """Everybody whom the operator lets in may bring devices."""

    async def accept(self, profile: Profile, expiry: datetime | None) -> None:
        # A browser that hangs up in the middle must not leave a device waiting that is in.
        await asyncio.shield(self._let_in(profile, expiry))

    async def _let_in(self, profile: Profile, expiry: datetime | None) -> None:
        step = partial(log_in_person, request=self.login.request, profile=profile, expiry=expiry)
        outcome = await self.writer.apply(audited(step, actor=actor_of(profile), action="login.register"))
        assert isinstance(outcome, Registered)
        self.logins.approve(self.login)

    async def refuse(self, profile: Profile) -> None:
        self.logins.reject(self.login, NOT_THEIRS)
        name = self.login.request.hostinfo.hostname[:80]
        await self.writer.apply(
            partial(note, actor=actor_of(profile), action="login.reject", details=f"device {name}")
        )


@dataclass(frozen=True, slots=True)
class Confirmation:
    """An SSH session waits to be confirmed by the owner of the device that it comes from."""

    check: Check
    checks: PendingChecks
    writer: Writer
    words: Words = OF_SESSION

    def rows(self) -> list[tuple[str, str]]:
        return session_rows(self.writer.snapshot, self.check.session)

    def check_person(self, profile: Profile) -> None:
        snapshot = self.writer.snapshot
        source = snapshot.nodes.get(self.check.session.source_id)
        if source is None or source.user_id is None:
            raise Refused(
                "this session comes from a device that is nobody's: an administrator has to confirm it"
            )
        if source.user_id != self.check.session.owner_id:
            raise Refused("the device that this session comes from is somebody else's now: connect again")
        if snapshot.users[source.user_id].provider_identifier != profile.identifier:
            raise Refused("this session comes from somebody else's device: only its owner may confirm it")

    async def accept(self, profile: Profile, expiry: datetime | None) -> None:
        self.check_person(profile)
        await self._noted(profile, "ssh.approve")
        self.checks.approve(self.check)

    async def refuse(self, profile: Profile) -> None:
        self.checks.reject(self.check, NOT_MINE)
        await self._noted(profile, "ssh.reject")

    async def _noted(self, profile: Profile, action: str) -> None:
        details = session_text(self.writer.snapshot, self.check.session)
        await self.writer.apply(partial(note, actor=actor_of(profile), action=action, details=details))


@dataclass(frozen=True, slots=True)
class Registrations:
    """Devices that ask to join."""

    logins: PendingLogins
    writer: Writer

    def find(self, errand_id: str) -> Registration:
        return Registration(self.logins.find(errand_id), self.logins, self.writer)


@dataclass(frozen=True, slots=True)
class Confirmations:
    """SSH sessions that wait."""

    checks: PendingChecks
    writer: Writer

    def find(self, errand_id: str) -> Confirmation:
        found = Confirmation(self.checks.find(errand_id), self.checks, self.writer)
        source = self.writer.snapshot.nodes.get(found.check.session.source_id)
        if source is None:
            raise NotFound("the device that this session comes from is gone")
        if source.user_id is None:  # before anybody logs in for nothing
            raise Refused(
                "this session comes from a device that is nobody's: an administrator has to confirm it"
            )
        return found


def actor_of(profile: Profile) -> str:
    """Who did it, in the words of the audit log."""
    return f"person {profile.email or profile.name or profile.identifier}"


KINDS: Final[Mapping[str, str]] = {"register": "/register", "ssh": "/auth"}
