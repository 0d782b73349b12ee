"""What a run with a mutant shows: that scenarios noticed the mistake, that none did, or nothing at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

NOTICING: Final = frozenset({"AssertionError", "HarnessError", "TimeoutError", "Failed"})
"""By one of these a scenario says that the server is not as it must be. Anything else is an accident; so is a test that
took longer than any may, which pytest-timeout ends."""
TOO_LONG: Final = "Timeout"


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    """Its scenarios passed."""
    BROKEN = "broken"
    """The run shows nothing: the mistake was never reached or has one of its own, or a test had an accident."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`by` is the test that noticed; `told` what it said, or why the run shows nothing."""

    fate: Fate
    by: str = ""
    told: str = ""


def judge(written: Mapping[str, Any] | None) -> Verdict:
    """The verdict on a run's report; None stands for a run that ended without one."""
    if written is None:
        return Verdict(Fate.BROKEN, told="the run ended without a report")
    results: Sequence[Mapping[str, Any]] = written["results"]
    failed = [each for each in results if each["outcome"] == "failed"]
    if not results:
        return Verdict(Fate.BROKEN, told="no scenario ran")
    if written["problems"]:
        return Verdict(Fate.BROKEN, told=f"the mutant itself failed: {written['problems'][0]}")
    if not written["calls"]:
        return Verdict(Fate.BROKEN, told="the mistake was never reached")
    accidents = [each for each in failed if _is_accident(each)]
    noticed = [each for each in failed if each not in accidents]
    if noticed:
        return Verdict(Fate.KILLED, by=noticed[0]["test"], told=noticed[0]["told"])
    if accidents:
        first = accidents[0]
        return Verdict(Fate.BROKEN, told=f"{first['test']}: {first['kinds'][0]}: {first['told']}")
    if idle := [each["test"] for each in results if each["outcome"] in ("skipped", "unsupported")]:
        return Verdict(Fate.BROKEN, told=f"{idle[0]} did not run here")
    passed = {each["test"] for each in results}
    return Verdict(Fate.SURVIVED, told=f"{len(passed)} scenarios passed")


def passes(written: Mapping[str, Any] | None) -> Mapping[str, str]:
    """Of a run with a sound server: what is wrong with tests that do not pass, by test."""
    if written is None:
        return {"": "the run ended without a report"}
    return {
        each["test"]: f"{each['outcome']}: {each['told']}"
        for each in written["results"]
        if each["outcome"] != "passed"
    }


def _is_accident(result: Mapping[str, Any]) -> bool:
    kinds: Sequence[str] = result["kinds"]
    return NOTICING.isdisjoint(kinds) or ("Failed" in kinds and result["told"].startswith(TOO_LONG))
