"""Walking down a policy's text, with a complaint at whatever is not as expected."""

from collections.abc import Callable

import pytest

from headscale.policy.complaints import COMPLAINTS_MAX
from headscale.policy.cursor import Cursor, Notes
from headscale.policy.hujson import parse


def cursor(text: str) -> Cursor:
    tree = parse(text)
    return Cursor(Notes(tree), tree.root)


def said(at: Cursor) -> list[str]:
    return [str(complaint) for complaint in at.notes.all()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"x"', "a string"),
        ("1", "a number"),
        ("[]", "a list"),
        ("{}", "an object"),
        ("true", "true"),
        ("false", "false"),
        ("null", "null"),
    ],
)
def test_what_was_found_is_said_in_words(text: str, words: str) -> None:
    """Each kind of value has a word that people know."""
    at = cursor(text)
    if words != "a string":
        at.string()
        assert said(at)[-1] == f"line 1, column 1: expected a string, found {words}"
    if words not in ("true", "false"):
        at.boolean()
        assert said(at)[-1] == f"line 1, column 1: expected true or false, found {words}"


def test_null_is_absent() -> None:
    """It has no members and no items, and no complaint follows."""
    at = cursor("null")
    assert at.is_null
    assert [*at.members(), *at.items(), *at.strings()] == []
    assert said(at) == []


@pytest.mark.parametrize(
    ("walk", "expected"),
    [(Cursor.members, "an object"), (Cursor.items, "a list"), (Cursor.strings, "a list")],
)
def test_something_else_is_complained_of(walk: Callable[[Cursor], object], expected: str) -> None:
    """Where an object or a list should be and is not, there is nothing to walk."""
    at = cursor("1")
    assert list(walk(at)) == []  # type: ignore[call-overload]
    assert said(at) == [f"line 1, column 1: expected {expected}, found a number"]


def test_a_wrong_item_does_not_hide_the_next() -> None:
    """Those that are as expected are read, each with its place."""
    at = cursor('["x",\n 1, "y", "zz"]')
    read = list(at.read_each(lambda text: {"x": 1, "y": 2}[text] if text != "zz" else int(text)))
    assert [(at.item(n).place.line, at.item(n).path, value) for n, value in read] == [
        (1, "[0]", 1),
        (2, "[2]", 2),
    ]
    assert [line.partition(": ")[0] for line in said(at)] == [
        "line 2, column 2 ([1])",
        "line 2, column 10 ([3])",
    ]


def test_fields_by_any_case() -> None:
    """Known names are found in any case, null ones left out, unknown ones and second ones complained of."""
    at = cursor('{"ACLS": 1, "groups": null, "acls": 2, "old": 3, "nope": 4}')
    found = at.fields(("acls", "groups"), {"old": "use acls"})
    assert {name: value.plain() for name, value in found.items()} == {"acls": 1}
    assert said(at) == [
        'line 1, column 29 (acls): duplicate field: "acls" stands for "acls" a second time',
        "line 1, column 40 (old): use acls",
        'line 1, column 50 (nope): unknown field: "nope" (known are acls, groups)',
    ]


def test_the_same_is_said_once() -> None:
    """Reading a value twice is one mistake of its writer's, not two."""
    at = cursor("[]")
    at.complain("x")
    at.complain("x")
    assert len(at.notes.all()) == 1


@pytest.mark.parametrize(("more", "last"), [(0, "99"), (1, "and 1 more"), (9, "and 9 more")])
def test_complaints_past_the_limit_are_counted(more: int, last: str) -> None:
    """Up to the limit each is kept, and then only their number."""
    at = cursor("[]")
    for number in range(COMPLAINTS_MAX + more):
        at.complain(str(number))
    assert len(at.notes.all()) == COMPLAINTS_MAX + bool(more)
    assert at.notes.all()[-1].message == last
