"""The reader of policy files: what HuJSON is, what it is not, where an error is, and how much is read."""

import gc
import json
from contextlib import suppress
from itertools import pairwise

import pytest

from headscale.errors import Malformed
from headscale.policy.hujson import (
    LIMITS,
    Array,
    HuJSONError,
    Limits,
    Literal,
    Number,
    Object,
    String,
    join_path,
    parse,
    print_text,
    strip,
    to_python,
)
from headscale.policy.hujson_text import SHOWN

POLICY = """\
// who may reach what
{
\t"groups": {"group:eng": ["erin@", "bob@",]}, /* two
\t                                               lines */
\t"acls": [
\t\t{"action": "accept", "src": ["group:eng"], "dst": ["tag:web:80,443"]}, // trailing
\t],
}
"""


def refused(text: str | bytes, limits: Limits = LIMITS) -> HuJSONError:
    with pytest.raises(HuJSONError) as caught:
        parse(text, limits=limits)
    return caught.value


def test_a_policy_with_comments_and_trailing_commas() -> None:
    """What operators write is read, and means what it says."""
    assert to_python(parse(POLICY).root) == {
        "groups": {"group:eng": ["erin@", "bob@"]},
        "acls": [{"action": "accept", "src": ["group:eng"], "dst": ["tag:web:80,443"]}],
    }


def test_print_gives_the_text_back() -> None:
    """Comments, white space and commas stay where they were."""
    assert print_text(parse(POLICY)) == POLICY


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        (" null ", None),
        ("[]", []),
        ("{}", {}),
        ("[ /**/ ]", []),
        ("{// nothing\n}", {}),
        ("[1,]", [1]),
        ("[1/**/,/**/]", [1]),
        ('{"a":1,}', {"a": 1}),
        ('{"a"/**/:/**/1/**/,/**/}', {"a": 1}),
        ("1 // the end of the text ends a comment", 1),
        ("1 //", 1),
        ("/***/1/*/*/", 1),
        ("/* // */ 1", 1),
        ("// /*\n1", 1),
        ("\r\n1\r\n", 1),
        ("\ufeff[1]", [1]),
        ('"\\u00e9\\n\\/\\ud83d\\ude00"', "é\n/😀"),
        ('"\x7f\u2028// not a comment"', "\x7f\u2028// not a comment"),
        ('{"\\u0061": 1, "": 2}', {"a": 1, "": 2}),
        (
            "[0, -0, -1, 10, 1.5, 0.5, -0.25, 1e2, 1E+2, 1e-2]",
            [0, 0, -1, 10, 1.5, 0.5, -0.25, 100.0, 100.0, 0.01],
        ),
        ("[9223372036854775807, -9223372036854775808]", [2**63 - 1, -(2**63)]),
        ("[1.7976931348623157e308, 1e-999]", [1.7976931348623157e308, 0.0]),
    ],
)
def test_what_hujson_is(text: str, value: object) -> None:
    """JSON, comments wherever white space may be, and one comma after the last item or member."""
    assert repr(to_python(parse(text).root)) == repr(value)
    assert to_python(parse(text.encode()).root) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: the document is empty, expected a value"),
        ("// only this", "line 1, column 13: the document is empty, expected a value"),
        ("{} {}", "line 1, column 4: expected the end of the document, which has one value, found '{'"),
        ("[]]", "line 1, column 3: expected the end of the document, which has one value, found ']'"),
        ("\n# x\n{}", "line 2, column 1: comments begin with // or /*, found '#'"),
        ("[1] / 2", "line 1, column 5: comments begin with // or /*, found '/'"),
        ("[\n1 /* a\n b", "line 3, column 3: the comment that begins in line 2 is never closed"),
        ("{} /*/", "line 1, column 7: the comment that begins in line 1 is never closed"),
        ("\n[1,\n2", "line 3, column 2: '[' of line 2 is never closed"),
        ('{"a": [{\n', "line 2, column 1 (a[0]): '{' of line 1 is never closed"),
        ('{"a": [', "line 1, column 8 (a): '[' of line 1 is never closed"),
        ('{"a":', "line 1, column 6: '{' of line 1 is never closed"),
        ('{"a"', "line 1, column 5: expected ':' after the key \"a\", found the end of the text"),
        ("[1}", "line 1, column 3: expected ',' or ']' after a value, found '}'"),
        ('{"a": 1]', "line 1, column 8: expected ',' or '}' after a value, found ']'"),
        ("[1 2]", "line 1, column 4: expected ',' or ']' after a value, found 2: is a comma missing?"),
        (
            '{"a": "b" "c": 1}',
            "line 1, column 11: expected ',' or '}' after a value, found \"c\": is a comma missing?",
        ),
        ("[1,,2]", "line 1, column 4 ([1]): two commas in a row: expected a value or ']' after the first"),
        (
            '{"a":1,,}',
            "line 1, column 8: two commas in a row: expected a key in double quotes or '}' after the first",
        ),
        ("[,]", "line 1, column 2 ([0]): expected a value or ']', found ','"),
        ("[/**/,]", "line 1, column 6 ([0]): expected a value or ']', found ','"),
        ("{,}", "line 1, column 2: expected a key in double quotes or '}', found ','"),
        ('{"a" 1}', "line 1, column 6: expected ':' after the key \"a\", found 1"),
        ('{"a":}', "line 1, column 6 (a): expected a value after ':', found '}'"),
        ("{a: 1}", "line 1, column 2: keys are in double quotes, found the bare word a"),
        ("{'a': 1}", "line 1, column 2: keys are in double quotes, found a single quote"),
        ("{1: 2}", "line 1, column 2: keys are in double quotes, found the bare word 1"),
        ("{\n    [1]}", "line 2, column 5: expected a key in double quotes or '}', found '['"),
        ("\n[      'a']", "line 2, column 8 ([0]): strings are in double quotes, found a single quote"),
        ("[“a”]", "line 1, column 2 ([0]): strings are in double quotes, found a typographic quote"),
        ("[a]", "line 1, column 2 ([0]): strings are in double quotes, found the bare word a"),
        (
            "[truefalse]",
            "line 1, column 2 ([0]): strings are in double quotes, found the bare word truefalse",
        ),
        ("[True]", "line 1, column 2 ([0]): expected true in small letters, found True"),
        ("[None]", "line 1, column 2 ([0]): expected null in small letters, found None"),
        ("[NaN]", "line 1, column 2 ([0]): numbers are finite, found NaN"),
        ("[-Infinity]", "line 1, column 2 ([0]): numbers are finite, found -Infinity"),
        ("[007]", "line 1, column 2 ([0]): numbers have no leading zeros, found 007"),
        ("[-01.5]", "line 1, column 2 ([0]): numbers have no leading zeros, found -01.5"),
        ("[+1]", "line 1, column 2 ([0]): numbers have no plus sign in front, found +1"),
        ("[.5]", "line 1, column 2 ([0]): numbers have a digit before the point, found .5"),
        ("[1.]", "line 1, column 2 ([0]): numbers have a digit after the point, found 1."),
        ("[0x1F]", "line 1, column 2 ([0]): numbers are decimal, found 0x1F"),
        ("[1.2.3]", "line 1, column 2 ([0]): expected a number such as 80, -1 or 2.5e3, found 1.2.3"),
        ("[-]", "line 1, column 2 ([0]): expected a number such as 80, -1 or 2.5e3, found -"),
        ("[1e]", "line 1, column 2 ([0]): expected a number such as 80, -1 or 2.5e3, found 1e"),
        (
            "[\xa01]",
            "line 1, column 2 ([0]): white space is spaces, tabs and line ends, found the character U+00A0",
        ),
        ("[\x00]", "line 1, column 2 ([0]): expected a value or ']', found the character U+0000"),
        ('\n["a]', "line 2, column 5 ([0]): the string that begins in line 2 is never closed"),
        (
            '["a\n"]',
            "line 1, column 4 ([0]): the string that begins in line 1 is not closed before the line ends",
        ),
        ('["\t"]', r"line 1, column 3 ([0]): a control character in a string is written \t"),
        ('["\x00"]', r"line 1, column 3 ([0]): a control character in a string is written \u0000"),
        (
            '["a\\x41"]',
            r"line 1, column 4 ([0]): \x is no escape; those are \" \\ \/ \b \f \n \r \t and \u0000",
        ),
        ('["\\u12"]', r'line 1, column 3 ([0]): \u needs four hexadecimal digits, found \u12"]'),
        (
            '["\\n\\ud83d"]',
            r"line 1, column 5 ([0]): \ud83d is half of a surrogate pair and no character alone",
        ),
        (
            '["\\ude00\\ud83d"]',
            r"line 1, column 3 ([0]): \ude00 is half of a surrogate pair and no character alone",
        ),
        ('{"\\ud83d\\n": 1}', r"line 1, column 3: \ud83d is half of a surrogate pair and no character alone"),
        ('["\ud800"]', "line 1, column 3: half of a surrogate pair is no character, found U+D800"),
        (b'["\xc3\xa9\xff"]', "line 1, column 4: the text is not UTF-8, found the byte 0xFF"),
        (b"\xff\xfe[\x00]\x00", "line 1, column 1: the text is not UTF-8, found the byte 0xFF"),
        ('{"a": 1,\n "\\u0061": 2}', 'line 2, column 2: the key "a" stands in line 1 already'),
        (
            "[9223372036854775808]",
            "line 1, column 2 ([0]): an integer fits 64 bits, found 9223372036854775808",
        ),
        (
            "[-9223372036854775809]",
            "line 1, column 2 ([0]): an integer fits 64 bits, found -9223372036854775809",
        ),
        ("[1e309]", "line 1, column 2 ([0]): a number fits a double, found 1e309"),
    ],
)
def test_what_hujson_is_not(text: str | bytes, message: str) -> None:
    """Each mistake is named, with its place and what belongs there."""
    assert str(refused(text)) == message


def test_an_error_knows_its_place() -> None:
    """Line and column count from 1, the offset from 0, the path names the array or object that is being read."""
    text = '{"acls": [0, 1, 2, {\n"é": 1, "dst": ["tag:web" "accept"]}]}'
    error = refused(text)
    assert isinstance(error, Malformed)
    assert (error.line, error.column, error.path) == (2, 27, "acls[3].dst")
    assert text[error.offset :].startswith('"accept"')
    assert str(error).startswith(
        "line 2, column 27 (acls[3].dst): expected ',' or ']' after a value, found \"accept\""
    )


def test_keys_may_differ_in_case() -> None:
    """Only the same key twice is refused here; the reader of the document knows which keys it folds."""
    assert to_python(parse('{"Src": 1, "src": 2}').root) == {"Src": 1, "src": 2}


def test_the_same_key_in_different_objects() -> None:
    """A key may come again within the value, beside it and after it."""
    text = '{"a": {"a": 1}, "b": {"a": 2}}'
    assert to_python(parse(text).root) == {"a": {"a": 1}, "b": {"a": 2}}


@pytest.mark.parametrize(
    "text", ["x" * 500, '"' + "x" * 500, "9" * 500, '{"' + "k" * 500 + '" 1}', "'" * 500]
)
def test_an_error_shows_little_of_the_text(text: str) -> None:
    """Of any one piece of the input at most some forty characters are repeated."""
    message = str(refused(text))
    longest = max(sum(1 for _ in run) for run in runs(message))
    assert longest <= SHOWN


def runs(text: str) -> list[str]:
    """The stretches of one same character."""
    cuts = [0, *(at for at, (a, b) in enumerate(pairwise(text), 1) if a != b), len(text)]
    return [text[start:end] for start, end in pairwise(cuts)]


def test_an_error_in_a_deep_place_has_a_short_message() -> None:
    """The middle of a long path is left out; the attribute has all of it."""
    error = refused('{"group:some long name": ' * 100 + "!")
    assert len(str(error)) < 250
    assert error.path.count("group:some") == 100


def test_control_characters_are_escaped_in_messages() -> None:
    """What a terminal would act on never reaches it."""
    assert str(refused('{"a\x7f\u202e": 1, "a\x7f\u202e": 2}')).endswith(
        r'the key "a\u007f\u202e" stands in line 1 already'
    )


def test_values_know_their_offsets() -> None:
    """Offsets are half open and include quotes and brackets; they count characters, and the mark of a BOM."""
    text = '\ufeff{"é": ["x\\n", 12, true]}'
    root = parse(text).root
    assert isinstance(root, Object)
    [member] = root.members
    assert isinstance(member.value, Array)
    string, number, literal = member.value.items
    places = [text[v.start : v.end] for v in (root, member.key, member.value, string, number, literal)]
    assert places == [text[1:], '"é"', '["x\\n", 12, true]', '"x\\n"', "12", "true"]
    assert isinstance(string, String)
    assert isinstance(number, Number)
    assert isinstance(literal, Literal)
    assert (member.key.text, string.text, number.value, literal.value) == ("é", "x\n", 12, True)


def test_lines_and_columns() -> None:
    """A line ends with its line feed, whether or not a carriage return stands before it."""
    tree = parse("[1,\r\n 2,\n\n3]")
    places = [tree.line_column(offset) for offset in (0, 3, 4, 5, 6, 9, 10, 12)]
    assert places == [(1, 1), (1, 4), (1, 5), (2, 1), (2, 2), (3, 1), (4, 1), (4, 3)]


def test_a_byte_order_mark_is_in_no_column() -> None:
    """The first character that an editor shows is in column 1."""
    assert parse("\ufeff[1]").line_column(1) == (1, 1)
    assert str(refused("\ufeff?")).startswith("line 1, column 1:")


def test_values_cannot_be_changed() -> None:
    """A tree may be shared."""
    root = parse("[1]").root
    with pytest.raises(AttributeError):
        root.start = 1  # type: ignore[misc]


def test_values_are_equal_only_to_themselves() -> None:
    """Comparing trees would recurse; what they mean is compared by to_python."""
    assert parse("[1]").root != parse("[1]").root
    assert len({parse("[1]").root, parse("[1]").root}) == 2


def test_a_container_shows_itself_in_short() -> None:
    """A failing test does not print a whole policy."""
    root = parse('{"a": [1, 2]}').root
    assert repr(root) == "Object(start=0, end=13, 1 members)"


@pytest.mark.parametrize(
    ("path", "step", "joined"),
    [
        ("", "acls", "acls"),
        ("acls", 3, "acls[3]"),
        ("acls[3]", "src", "acls[3].src"),
        ("groups", "group:a b", 'groups["group:a b"]'),
        ("", "group:a", '["group:a"]'),
        ("", 0, "[0]"),
        ("hosts", "", 'hosts[""]'),
        ("hosts", 'a"\\\n', r'hosts["a\"\\\u000a"]'),
        ("hosts", "é", 'hosts["é"]'),
        ("hosts", "x" * 41, 'hosts["' + "x" * 39 + '…"]'),
    ],
)
def test_paths(path: str, step: str | int, joined: str) -> None:
    """Keys like identifiers have dots, others brackets and quotes; long ones are cut."""
    assert join_path(path, step) == joined


def test_strip_keeps_every_offset() -> None:
    """Plain JSON of the same length: comments, trailing commas and the mark are spaces, line ends stay."""
    text = '\ufeff[1, // é\r\n"/*,*/",/*\t\n*/]//'
    assert strip(text) == ' [1,     \r\n"/*,*/"   \t\n  ]  '
    assert json.loads(strip(POLICY)) == to_python(parse(POLICY).root)


def test_strip_refuses_what_parse_refuses() -> None:
    """A text that is not HuJSON does not become JSON."""
    with pytest.raises(HuJSONError):
        strip("[1,,2]")


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("limits", "at_limit", "past_it", "name"),
    [
        (Limits(size_bytes=5), '"é0"', '"é01"', "5 (size_bytes)"),
        (Limits(depth=2), '[{"a": 1}]', '[{"a": []}]', "2 (depth)"),
        (Limits(values=3), '[{"a": 1}]', "[1, [2, 3]]", "3 (values)"),
        (Limits(string_chars=3), '["abc", {"abc": 1}]', '["abcd"]', "3 (string_chars)"),
        (Limits(string_chars=3), '{"abc": 1}', '{"abcd": 1}', "3 (string_chars)"),
        (Limits(string_chars=6), '"\\u00e9"', '"\\u00e9x"', "6 (string_chars)"),
    ],
)
def test_limits(limits: Limits, at_limit: str, past_it: str, name: str) -> None:
    """A document at a limit is read, one past it is refused with the limit's name."""
    parse(at_limit, limits=limits)
    parse(at_limit.encode(), limits=limits)
    assert f"the limit of {name}" in str(refused(past_it, limits))
    assert f"the limit of {name}" in str(refused(past_it.encode(), limits))


@pytest.mark.parametrize(
    ("at_limit", "past_it", "name"),
    [
        ("1" + " " * (LIMITS.size_bytes - 1), "1" + " " * LIMITS.size_bytes, "10,485,760 (size_bytes)"),
        (nested(LIMITS.depth), nested(LIMITS.depth + 1), "128 (depth)"),
        (
            f'"{"x" * LIMITS.string_chars}"',
            f'"{"x" * (LIMITS.string_chars + 1)}"',
            "1,048,576 (string_chars)",
        ),
    ],
    ids=["size", "depth", "string"],
)
def test_default_limits(at_limit: str, past_it: str, name: str) -> None:
    """What an operator may send: 10 MiB, 128 levels, strings of a million characters."""
    parse(at_limit)
    assert f"the limit of {name}" in str(refused(past_it))


def test_the_default_number_of_values() -> None:
    """Two million; reading so many takes seconds, so the count itself is tested with a few above."""
    assert LIMITS.values == 2_000_000


DEEP = 100_000


def _beginning(text: str) -> str:
    return repr(text[:6])


@pytest.mark.parametrize(
    "text", [nested(DEEP), "[" * DEEP, '{"a":' * DEEP, "[/**/" * DEEP, '[{"a":' * DEEP], ids=_beginning
)
def test_a_deep_document_is_an_error(text: str) -> None:
    """However deep, it is the depth that is complained about, at the place where it is passed."""
    error = refused(text)
    assert "deeper than the limit of 128 (depth)" in str(error)
    assert text[error.offset] in "[{"


@pytest.mark.parametrize(
    "text",
    [nested(DEEP), '{"a":' * DEEP + "1" + "}" * DEEP, '[{"a":' * DEEP + "1" + "}]" * DEEP],
    ids=_beginning,
)
def test_depth_costs_no_stack(text: str) -> None:
    """With a limit that allows it, a deep tree is parsed, printed, turned into Python and freed."""
    tree = parse(text, limits=Limits(depth=2 * DEEP))
    assert print_text(tree) == text
    value = to_python(tree.root)
    assert repr(tree)
    del tree, value
    gc.collect()


@pytest.mark.parametrize("text", ["[" * DEEP + "1 2", '{"a":' * DEEP + "?", "[" * DEEP], ids=_beginning)
def test_an_error_in_the_depth_costs_no_stack(text: str) -> None:
    """Nor does its path, which stays short in the message."""
    assert len(str(refused(text, Limits(depth=DEEP)))) < 300


@pytest.mark.parametrize(
    "text",
    [
        "9" * 1_000_000,
        "-" * 1_000_000,
        "1." + "9" * 1_000_000,
        "1e" + "9" * 1_000_000,
        '"' + "\\n" * 500_000,
        '"' + "\\ud83d\\ude00" * 80_000 + '"',
        "/*" * 500_000,
        "//\n" * 300_000 + "1",
        "[" + "/**/" * 250_000 + "]",
        "\n" * 1_000_000 + "?",
        "[" + " " * 1_000_000 + "?",
        '{"a" ' + " " * 1_000_000 + "?",
    ],
    ids=_beginning,
)
@pytest.mark.timeout(10)
def test_long_tokens_take_linear_time(text: str) -> None:
    """A megabyte of one thing is answered within seconds: none of these is read again and again."""
    with suppress(HuJSONError):
        parse(text)
