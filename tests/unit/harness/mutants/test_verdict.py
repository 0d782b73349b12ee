"""What a run with a mutant shows."""

from typing import Any

import pytest

from harness.mutants.verdict import Fate, judge, passes


def entry(outcome: str, *kinds: str, when: str = "call") -> dict[str, Any]:
    return {"test": "t", "when": when, "outcome": outcome, "kinds": list(kinds), "told": "so"}


def report(*results: dict[str, Any], calls: int = 1, problems: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"calls": calls, "problems": list(problems), "results": list(results)}


UNREACHED = ("Unreached", "AssertionError", "Exception")
ACCIDENT = ("KeyError", "LookupError", "Exception")


@pytest.mark.parametrize(
    ("written", "fate", "told"),
    [
        (report(entry("passed")), Fate.SURVIVED, "1 scenarios passed"),
        (report(entry("failed", *UNREACHED)), Fate.KILLED, "so"),
        (report(entry("failed", "NotReached", "HarnessError", "Exception", when="setup")), Fate.KILLED, "so"),
        (report(entry("failed", *ACCIDENT)), Fate.BROKEN, "t: KeyError: so"),
        (report(entry("failed", *ACCIDENT), entry("failed", *UNREACHED)), Fate.KILLED, "so"),
        (report(entry("failed", *UNREACHED), calls=0), Fate.BROKEN, "the mistake was never reached"),
        (
            report(entry("failed", *UNREACHED), problems=("E: x",)),
            Fate.BROKEN,
            "the mutant itself failed: E: x",
        ),
        (report(entry("failed", "Failed", "OutcomeException")), Fate.KILLED, "so"),
        (
            report({**entry("failed", "Failed"), "told": "Timeout (>600.0s)"}),
            Fate.BROKEN,
            "t: Failed: Timeout (>600.0s)",
        ),
        (report(entry("unsupported", when="setup")), Fate.BROKEN, "t did not run here"),
        (report(entry("passed"), entry("skipped")), Fate.BROKEN, "t did not run here"),
        (report(calls=0), Fate.BROKEN, "no scenario ran"),
        (None, Fate.BROKEN, "the run ended without a report"),
    ],
)
def test_only_a_scenario_that_noticed_kills(written: dict[str, Any] | None, fate: Fate, told: str) -> None:
    verdict = judge(written)
    assert (verdict.fate, verdict.told) == (fate, told)


def test_a_sound_server_is_to_pass_everything() -> None:
    """What was skipped shows nothing either."""
    assert passes(report(entry("passed", when="setup"), entry("passed"))) == {}
    assert passes(report(entry("passed"), entry("unsupported"))) == {"t": "unsupported: so"}
    assert passes(None) != {}
