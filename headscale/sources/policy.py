"""Where the policy comes from: the database, where administrators set it, or a file of the operator's.

A policy is parsed, worked out and tested in a thread, one at a time, and takes effect in one step of the writer; one
that is wrong changes nothing. What was stored must never keep a server from starting, and a file with a mistake must:
nobody is there to mend the first, and the second is in the hands of who starts the server.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from headscale.config.settings import PolicyMode, PolicySettings
from headscale.errors import HeadscaleError, Malformed
from headscale.policy.compiled import Compiled
from headscale.policy.complaints import PolicyRefused
from headscale.records import PolicyText
from headscale.sources.policyfile import in_file, read_policy
from headscale.state.effect import Step
from headscale.state.policy import Prepared, adopt_policy, prepare, set_policy, work_out
from headscale.state.snapshot import Snapshot
from headscale.state.writer import Writer

log = logging.getLogger(__name__)

# As many stored policies are tried at a start, newest first; a start must end.
TRIED_MAX: Final = 20
NOBODY: Final = '{"acls": []}'
NOT_HERE: Final = "update is disabled for modes other than 'database'"

T = TypeVar("T")
Older = Callable[[int], Awaitable[PolicyText | None]]
Act = Callable[[Step[PolicyText]], Step[PolicyText]]


def _nobodys(step: Step[PolicyText]) -> Step[PolicyText]:
    return step


class PolicySource:
    """Starts, changes, checks and reloads the policy of one server."""

    def __init__(self, writer: Writer, settings: PolicySettings) -> None:
        self._writer = writer
        self._settings = settings
        self._turn = asyncio.Lock()
        self._question = asyncio.Lock()

    @property
    def is_file(self) -> bool:
        """Whether the operator keeps the policy, and nobody else may set one."""
        return self._settings.mode is PolicyMode.FILE

    async def start(self, stored: PolicyText | None, older: Older) -> None:
        """Put in force what the server starts with; `stored` is the newest row, `older` finds the one before.

        Raises Malformed or Unavailable for a policy file that cannot be used.
        """
        if self._settings.mode is PolicyMode.FILE:
            if self._settings.path is not None:
                await self._adopt_file(self._settings.path, work=work_out)
        elif stored is not None:
            await self._adopt_stored(stored, older)

    async def set(self, text: str, *, act: Act = _nobodys) -> PolicyText:
        """Put a policy in force and keep it, as somebody's act. Raises Malformed (PolicyRefused with the places), or
        Unavailable."""
        if self._settings.mode is not PolicyMode.DATABASE:
            raise Malformed(NOT_HERE)
        async with self._turn:
            prepared = await asyncio.to_thread(prepare, self._writer.snapshot, text)
            row = await self._writer.apply(act(partial(set_policy, prepared=prepared)))
        log.info("policy set policy=%d bytes=%d", row.id, len(text.encode()))
        return row

    async def check(self, text: str) -> None:
        """Raises PolicyRefused with everything that keeps this policy from being set now; changes nothing."""
        async with self._turn:
            await asyncio.to_thread(prepare, self._writer.snapshot, text)

    async def ask(self, question: Callable[[Snapshot, tuple[Compiled, ...]], T], *texts: str | None) -> T:
        """What a question finds of these policies (None: the one in force) in the tailnet of this moment.

        In a thread, one at a time, and without keeping anybody from setting a policy; changes nothing. Raises
        PolicyRefused for a text that is no policy; the tests that it carries do not count.
        """
        async with self._question:
            return await asyncio.to_thread(_asked, self._writer.snapshot, question, texts)

    async def reload(self, settings: PolicySettings | None = None) -> None:
        """Read the file again, or another one; a broken one is logged, and the policy before it stays in force."""
        self._settings = settings or self._settings
        if self._settings.mode is not PolicyMode.FILE:
            log.info("SIGHUP: the policy is in the database, set it with `headscale policy set`")
        elif self._settings.path is None:
            log.info("SIGHUP: there is no policy file, policy.path is empty")
        else:
            try:
                await self._adopt_file(self._settings.path, work=prepare)
            except HeadscaleError as problem:
                log.error("policy file not taken, the policy before it stays in force:\n%s", problem)

    async def _adopt_file(self, path: Path, *, work: Callable[..., Prepared]) -> None:
        async with self._turn:
            text = await asyncio.to_thread(read_policy, path)
            try:
                prepared = await asyncio.to_thread(work, self._writer.snapshot, text)
            except PolicyRefused as refused:
                raise Malformed(in_file(path, refused.complaints)) from None
            _warn_of_failures(prepared, str(path))
            await self._writer.apply(
                lambda snapshot, moment: adopt_policy(
                    snapshot,
                    moment,
                    prepared=prepared,
                    origin=PolicyText(id=0, text=text, created_at=moment.now),
                )
            )
        log.info("policy read file=%s bytes=%d", path, len(text.encode()))

    async def _adopt_stored(self, newest: PolicyText, older: Older) -> None:
        """The newest row that can be used; with none, nobody is let in anywhere, which is safe and seen."""
        usable, reason = await self._first_usable(newest, older)
        if usable is None:
            row, prepared = newest, await asyncio.to_thread(work_out, self._writer.snapshot, NOBODY)
            instead = "nobody may reach anybody"
        else:
            row, prepared = usable
            instead = f"policy {row.id} of {row.created_at:%Y-%m-%d %H:%M} UTC is in force"
            _warn_of_failures(prepared, f"policy {row.id}")
        problem = ""
        if row is not newest or usable is None:
            problem = (
                f"policy {newest.id}, which was set last, cannot be used ({reason}); until "
                f"`headscale policy set --file FILE` sets one that can, {instead}"
            )
            log.error("%s", problem)
        await self._writer.apply(partial(adopt_policy, prepared=prepared, origin=row, problem=problem))

    async def _first_usable(
        self, newest: PolicyText, older: Older
    ) -> tuple[tuple[PolicyText, Prepared] | None, str]:
        """The newest row that can be used, worked out, and what is wrong with the newest of all."""
        row: PolicyText | None = newest
        reason = ""
        for _ in range(TRIED_MAX):
            if row is None:
                break
            try:
                return (row, await asyncio.to_thread(work_out, self._writer.snapshot, row.text)), reason
            except HeadscaleError as problem:
                log.error("policy %d in the database cannot be used:\n%s", row.id, problem)
                reason = reason or str(problem).partition("\n")[0]
            except (
                Exception
            ):  # a bug of ours: the server must start all the same, or nothing can be set right
                log.exception("policy %d in the database cannot be used", row.id)
                reason = reason or "an internal error, see the log"
            row = await older(row.id)
        return None, reason


def _asked(
    snapshot: Snapshot,
    question: Callable[[Snapshot, tuple[Compiled, ...]], T],
    texts: tuple[str | None, ...],
) -> T:
    policies = tuple(_policy_of(snapshot, text, at, len(texts)) for at, text in enumerate(texts))
    return question(snapshot, policies)


def _policy_of(snapshot: Snapshot, text: str | None, at: int, count: int) -> Compiled:
    if text is None:
        return snapshot.policy
    try:
        return work_out(snapshot, text).compiled
    except PolicyRefused as refused:
        if count == 1:
            raise
        which = f"policy {at + 1} of {count}"
        raise PolicyRefused(
            tuple(replace(each, message=f"{which}: {each.message}") for each in refused.complaints)
        ) from None


def _warn_of_failures(prepared: Prepared, what: str) -> None:
    for complaint in prepared.failures:
        log.warning("%s: a test of the policy fails: %s", what, complaint)
