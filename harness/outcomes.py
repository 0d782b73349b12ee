"""The result of a test that asked for what its server, client or backend cannot do: `unsupported`.

It is neither a failure nor a skip. The report says `skipped`, so that every tool knows that nothing was shown, and
has the reason as `report.unsupported`; the terminal counts it under a name of its own, JUnit has it as a property.

Under HARNESS_STRICT only a declared limit is accepted (`NotOffered`), one that is written down with what was chosen.
Any other that a test runs into is a gap, and fails.
"""

from collections import Counter
from typing import Final

import pytest

from harness.errors import NotOffered, Unsupported
from harness.strict import strict

WORD: Final = "unsupported"
LETTER: Final = "u"


def translate(call: pytest.CallInfo[None]) -> str | None:
    """Before the report is made: a test that ended with Unsupported becomes one that was skipped. The reason, if so.

    So nobody spends time on the traceback, of which nothing is shown.
    """
    problem = call.excinfo.value if call.excinfo is not None else None
    if not isinstance(problem, Unsupported) or (strict() and not isinstance(problem, NotOffered)):
        return None
    try:
        pytest.skip(f"{WORD}: {problem}")
    except pytest.skip.Exception as skip:
        call.excinfo = pytest.ExceptionInfo.from_exception(skip)
    return str(problem)


def mark(item: pytest.Item, report: pytest.TestReport, reason: str) -> None:
    """Say in the report that it is an unsupported one, and where the test is."""
    report.longrepr = (str(item.path), item.reportinfo()[1] or 0, f"{WORD.capitalize()}: {reason}")
    report.unsupported = reason  # type: ignore[attr-defined]
    item.user_properties.append((WORD, reason))
    report.user_properties.append((WORD, reason))


def reason_of(report: pytest.TestReport) -> str | None:
    """What the test asked for in vain; None for every other result."""
    reason: str | None = getattr(report, WORD, None)
    return reason


def status(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Category, letter and word for the terminal; None leaves the report to pytest."""
    return (WORD, LETTER, WORD.upper()) if reason_of(report) is not None else None


def summarize(terminal: pytest.TerminalReporter) -> None:
    """A line for each reason, with how many tests met it, as pytest has for skips."""
    reports = terminal.stats.get(WORD, [])
    if not reports:
        return
    terminal.section(WORD, "=")
    for reason, count in sorted(Counter(reason_of(report) for report in reports).items(), key=str):
        terminal.write_line(f"{WORD.upper()} [{count}] {reason}")
