"""What a server starts with when stored policies cannot be used, and what an internal error does."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from headscale.clock import ManualClock
from headscale.config.settings import PolicyMode, PolicySettings
from headscale.errors import Malformed
from headscale.policy.complaints import PolicyRefused
from headscale.records import PolicyText, Write
from headscale.sources import policy as module
from headscale.sources.policy import NOBODY, NOT_HERE, TRIED_MAX, PolicySource
from headscale.state.policy import Prepared, work_out
from headscale.state.snapshot import Snapshot
from headscale.state.writer import Writer
from tests.builders import NOW, tailnet

GOOD = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'


class NoStore:
    """Keeps nothing."""

    async def commit(self, writes: Sequence[Write]) -> None:
        return


@pytest.fixture
async def writer() -> AsyncIterator[Writer]:
    made = Writer(tailnet("alice"), NoStore(), ManualClock(NOW))
    task = asyncio.create_task(made.run())
    yield made
    made.close()
    await task


def row(number: int, text: str) -> PolicyText:
    return PolicyText(id=number, text=text, created_at=NOW)


async def started(writer: Writer, texts: list[str]) -> Snapshot:
    """Start from rows with these texts, oldest first."""
    rows = {number: row(number, text) for number, text in enumerate(texts, start=1)}

    async def older(policy_id: int) -> PolicyText | None:
        return rows.get(policy_id - 1)

    await PolicySource(writer, PolicySettings()).start(rows[len(texts)], older)
    return writer.snapshot


async def test_a_good_row_is_simply_in_force(writer: Writer) -> None:
    snapshot = await started(writer, ["broken", GOOD])
    assert (snapshot.policy_text, snapshot.policy_problem) == (row(2, GOOD), "")
    assert snapshot.policy.document is not None


async def test_older_rows_are_tried_but_not_for_ever(writer: Writer) -> None:
    """A start must end; the last that is tried still counts."""
    at_the_limit = await started(writer, [GOOD] + ["broken"] * (TRIED_MAX - 1))
    assert at_the_limit.policy_text == row(1, GOOD)
    assert f"policy {TRIED_MAX}, which was set last, cannot be used (" in at_the_limit.policy_problem
    past = await started(writer, [GOOD] + ["broken"] * TRIED_MAX)
    assert past.policy_text == row(TRIED_MAX + 1, "broken")
    assert past.policy_problem.endswith("nobody may reach anybody")
    assert past.policy.document is not None


async def test_a_bug_of_ours_does_not_keep_a_server_down(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the traceback, and nobody is let in until a policy is set."""

    def failing(snapshot: Snapshot, text: str) -> Prepared:
        if text != NOBODY:
            raise ZeroDivisionError
        return work_out(snapshot, text)

    monkeypatch.setattr(module, "work_out", failing)
    snapshot = await started(writer, [GOOD])
    assert "an internal error, see the log" in snapshot.policy_problem
    assert "ZeroDivisionError" in caplog.text


async def test_a_hangup_without_a_file_says_what_to_do_instead(
    writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await PolicySource(writer, PolicySettings()).reload()
    assert "set it with `headscale policy set`" in caplog.text
    source = PolicySource(writer, PolicySettings(mode=PolicyMode.FILE))
    await source.reload()
    assert "policy.path is empty" in caplog.text
    with pytest.raises(Malformed, match=NOT_HERE):
        await source.set(GOOD)
    assert writer.snapshot.policy_text is None


async def test_a_question_is_asked_of_any_policies(writer: Writer) -> None:
    """None is the one in force; nothing is put in force."""
    source = PolicySource(writer, PolicySettings())
    await source.set(GOOD)
    before = writer.snapshot
    found = await source.ask(
        lambda snapshot, policies: (snapshot, *(p.document for p in policies)), None, "{}"
    )
    assert found[0] is before is writer.snapshot
    assert [document.restricts for document in found[1:] if document] == [True, False]


async def test_a_question_about_what_is_no_policy_is_refused(writer: Writer) -> None:
    """Of several it says which."""
    source = PolicySource(writer, PolicySettings())
    with pytest.raises(PolicyRefused) as one:
        await source.ask(lambda snapshot, policies: None, "[]")
    assert str(one.value).startswith("line 1, column 1: expected an object")
    with pytest.raises(PolicyRefused) as second:
        await source.ask(lambda snapshot, policies: None, "{}", "[]")
    assert str(second.value).startswith("line 1, column 1: policy 2 of 2: expected an object")


async def test_a_question_does_not_keep_anybody_from_setting_a_policy(writer: Writer) -> None:
    source = PolicySource(writer, PolicySettings())
    answered = threading.Event()
    question = asyncio.create_task(source.ask(lambda snapshot, policies: answered.wait(10), None))
    try:
        async with asyncio.timeout(10):
            await source.set(GOOD)
        assert not question.done()
    finally:
        answered.set()
    assert await question is True
