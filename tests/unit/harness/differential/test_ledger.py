"""Differences are found by their place, and the ledger is strict about them."""

import pytest

from harness.differential.ledger import ABSENT, LEDGER, BadLedger, Difference, differences, read_ledger, rule

SIDES = ("process", "container")
ENTRY = """
[[difference]]
between = ["process", "container"]
at = "* rename */DNS/*"
first = "a"
reason = "issue 7"
"""


def found(*places: str) -> list[Difference]:
    return [Difference(place, "a", "b") for place in places]


def test_a_difference_is_told_as_deep_as_it_goes() -> None:
    """In objects; a list is one thing."""
    first = {"x": {"y": 1, "z": [1, 2]}, "gone": 1, "same": {"deep": [1]}}
    second = {"x": {"y": 2, "z": [2, 1]}, "new": 2, "same": {"deep": [1]}}
    assert list(differences(first, second, at="1")) == [
        Difference("1/gone", 1, ABSENT),
        Difference("1/new", ABSENT, 2),
        Difference("1/x/y", 1, 2),
        Difference("1/x/z", [1, 2], [2, 1]),
    ]


def test_a_known_difference_passes_and_another_does_not() -> None:
    """By its place and by what the first has there."""
    known = read_ledger(ENTRY, SIDES)
    assert rule(found("4 rename bob/DNS/Routes"), known).is_clean
    other = Difference("4 rename bob/DNS/Routes", "c", "b")
    assert rule([*found("4 rename bob/DNS/x"), other], known).unknown == [other]


def test_an_entry_that_explains_nothing_fails_the_run() -> None:
    known = read_ledger(ENTRY, SIDES)
    ruling = rule([], known)
    assert not ruling.is_clean
    assert ruling.idle == known


def test_an_entry_is_about_two_servers_in_their_order() -> None:
    assert read_ledger(ENTRY, ("container", "process")) == []


@pytest.mark.parametrize(
    "text",
    [
        "difference = 7 7",
        ENTRY.replace("reason", "why"),
        ENTRY.replace('"issue 7"', '" "'),
        ENTRY.replace(', "container"', ""),
        ENTRY + "third = 1\n",
    ],
)
def test_a_ledger_that_says_less_or_more_is_refused(text: str) -> None:
    with pytest.raises(BadLedger, match="ledger"):
        read_ledger(text, SIDES)


def test_the_ledger_that_is_kept_can_be_read() -> None:
    for between in (("process", "container"), ("inprocess", "process")):
        read_ledger(LEDGER.read_text(), between)
