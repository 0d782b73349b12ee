"""Where in a HuJSON text a reader stopped, and how to tell the person who wrote it.

Every message gives line and column, the path of the value, what was found and what was expected. It shows at
most `SHOWN` characters of any one piece of the input, with those that do not print escaped.
"""

import re
from array import array
from bisect import bisect_right
from typing import Final

from headscale.errors import Malformed

BOM: Final = "\ufeff"
# Enough to recognise a piece of one's own text; a message that echoes more floods a log.
SHOWN: Final = 40
# Some four ordinary keys; the middle of a longer path is left out of the message.
PATH_SHOWN: Final = 120

_SPACES: Final = re.compile(r"[ \t\r\n]++")
_NEWLINE: Final = re.compile(r"\n")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD: Final = re.compile(r"[\w.+-]+")
_QUOTED: Final = re.compile(r'"[^"\n]*"?')
# A string up to the first character that does not belong in it.
_STRING_BODY: Final = re.compile(r'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})[^"\\\x00-\x1f]*+)*+')
_QUOTES: Final = {
    "'": "a single quote",
    "`": "a backquote",
    **dict.fromkeys("‘’“”„«»", "a typographic quote"),
}
_LITERALS: Final = {"true": "true", "false": "false", "null": "null", "none": "null", "nil": "null"}
_NOT_FINITE: Final = frozenset({"nan", "inf", "infinity"})
_IN_QUOTES: Final = {'"': r"\"", "\\": r"\\"}
_ESCAPES: Final = {"\t": r"\t", "\b": r"\b", "\f": r"\f"}


class HuJSONError(Malformed):
    """A text that is not HuJSON, or is too much of it.

    `line` and `column` count from 1, `offset` from 0, all in characters; `path` is that of the value, empty
    for the document itself. They are where reading stopped, which is the end of the text when something is
    never closed.
    """

    def __init__(self, what: str, *, offset: int, line: int, column: int, path: str = "") -> None:
        where = f" ({_middle_out(path)})" if path else ""
        super().__init__(f"line {line}, column {column}{where}: {what}")
        self.what = what
        self.offset = offset
        self.line = line
        self.column = column
        self.path = path


def error_at(text: str, offset: int, what: str, *, path: str = "") -> HuJSONError:
    """The error to raise for what was found at `offset`."""
    line, column = line_column(line_starts(text, offset), offset)
    return HuJSONError(what, offset=offset, line=line, column=column, path=path)


def line_starts(text: str, end: int | None = None) -> "array[int]":
    """The offset of each line's first character, four bytes a line; a byte order mark is in no column."""
    starts = array("I", [1 if text.startswith(BOM) else 0])
    starts.extend(newline.end() for newline in _NEWLINE.finditer(text, 0, len(text) if end is None else end))
    return starts


def line_column(starts: "array[int]", offset: int) -> tuple[int, int]:
    """Line and column of an offset, both from 1."""
    line = max(1, bisect_right(starts, offset))
    return line, max(1, offset - starts[line - 1] + 1)


def skip_extra(text: str, at: int) -> int:
    """The offset after any white space and comments; the end of the text ends a line comment too."""
    while True:
        if spaces := _SPACES.match(text, at):
            at = spaces.end()
        if text.startswith("//", at):
            newline = text.find("\n", at)
            at = len(text) if newline < 0 else newline
        elif text.startswith("/*", at):
            close = text.find("*/", at + 2)
            if close < 0:
                what = f"the comment that begins in line {line_of(text, at)} is never closed"
                raise error_at(text, len(text), what)
            at = close + 2
        else:
            return at


def line_of(text: str, offset: int) -> int:
    """The line of an offset, from 1."""
    return text.count("\n", 0, offset) + 1


def join_path(path: str, key_or_index: str | int) -> str:
    """The path of an item or member: `acls[3].src`, `groups["group:a b"]`; keys over `SHOWN` are cut."""
    return path + step(key_or_index) if path else step(key_or_index).removeprefix(".")


def step(key_or_index: str | int) -> str:
    """One step of a path: `[3]`, `.src` or `["group:a b"]`."""
    if isinstance(key_or_index, int):
        return f"[{key_or_index}]"
    if len(key_or_index) <= SHOWN and _IDENTIFIER.fullmatch(key_or_index):
        return f".{key_or_index}"
    return f"[{quoted(key_or_index)}]"


def quoted(text: str) -> str:
    """A text in double quotes for a message, cut and escaped."""
    return '"' + "".join(_IN_QUOTES.get(char) or _escaped(char) for char in _cut(text)) + '"'


def shown(text: str) -> str:
    """As much of a text as a message may carry; what does not print is escaped."""
    return "".join(map(_escaped, _cut(text)))


def found(text: str, at: int) -> str:
    """What stands at `at`, for a message."""
    if at >= len(text):
        return "the end of the text"
    if text[at] in _QUOTES:
        return _QUOTES[text[at]]
    if text[at] == '"' and (string := _QUOTED.match(text, at, at + SHOWN + 2)):
        return shown(string[0])
    if word := _WORD.match(text, at, at + SHOWN + 1):
        return shown(word[0])
    return f"'{text[at]}'" if text[at].isprintable() else f"the character U+{ord(text[at]):04X}"


def not_expected(text: str, at: int, expected: str) -> str:
    """What to say when something else stands where `expected` should."""
    return _common_mistake(text, at) or f"expected {expected}, found {found(text, at)}"


def no_separator(text: str, at: int, closer: str) -> str:
    """What to say when neither a comma nor `closer` follows a value."""
    what = not_expected(text, at, f"',' or '{closer}' after a value")
    begins_another = text[at] in '"[{' or text[at] in _QUOTES or _WORD.match(text, at)
    return f"{what}: is a comma missing?" if begins_another else what


def no_value(text: str, at: int, expected: str) -> str:
    """What to say when no value begins at `at`: how people who know another language write one."""
    word = _WORD.match(text, at, at + SHOWN + 1)
    if text[at : at + 1] in _QUOTES and at < len(text):
        return f"strings are in double quotes, found {found(text, at)}"
    if word is None:
        return not_expected(text, at, expected)
    lower = word[0].lower()
    if lower.lstrip("+-") in _NOT_FINITE:
        return f"numbers are finite, found {found(text, at)}"
    if lower in _LITERALS:
        return f"expected {_LITERALS[lower]} in small letters, found {found(text, at)}"
    if lower[0] in "+-.0123456789":
        return f"{_number_rule(lower)}, found {found(text, at)}"
    return f"strings are in double quotes, found the bare word {found(text, at)}"


def no_key(text: str, at: int, expected: str) -> str:
    """What to say when no key begins at `at`."""
    if _WORD.match(text, at):
        return f"keys are in double quotes, found the bare word {found(text, at)}"
    if text[at : at + 1] in _QUOTES and at < len(text):
        return f"keys are in double quotes, found {found(text, at)}"
    return not_expected(text, at, expected)


def bad_string(text: str, start: int) -> tuple[int, str]:
    """Where the string that begins at `start` goes wrong, and what to say."""
    body = _STRING_BODY.match(text, start + 1)
    at = body.end() if body else start
    begins = f"the string that begins in line {line_of(text, start)}"
    if at >= len(text):
        return at, f"{begins} is never closed"
    if text[at] in "\r\n":
        return at, f"{begins} is not closed before the line ends"
    if text[at] != "\\":
        return at, f"a control character in a string is written {_escaped(text[at])}"
    if text[at + 1 : at + 2] == "u":
        return at, rf"\u needs four hexadecimal digits, found {shown(text[at : at + 6])}"
    return at, f"{shown(text[at : at + 2])} is no escape; those are " + r"\" \\ \/ \b \f \n \r \t and \u0000"


def _common_mistake(text: str, at: int) -> str | None:
    if at >= len(text):
        return None
    char = text[at]
    if char in "#/":
        return f"comments begin with // or /*, found '{char}'"
    if char.isspace() or char in "\ufeff\u200b\u2060":
        return f"white space is spaces, tabs and line ends, found the character U+{ord(char):04X}"
    return None


def _number_rule(word: str) -> str:
    digits = word.lstrip("+-")
    if word.startswith("+"):
        return "numbers have no plus sign in front"
    if digits.startswith("."):
        return "numbers have a digit before the point"
    if digits[:2] in ("0x", "0o", "0b"):
        return "numbers are decimal"
    if digits[:1] == "0" and digits[1:2].isdigit():
        return "numbers have no leading zeros"
    if digits.endswith("."):
        return "numbers have a digit after the point"
    return "expected a number such as 80, -1 or 2.5e3"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _escaped(char: str) -> str:
    code = ord(char)
    if char.isprintable():
        return char
    return _ESCAPES.get(char) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _middle_out(path: str) -> str:
    half = PATH_SHOWN // 2
    return path if len(path) <= PATH_SHOWN else f"{path[:half]}…{path[-half:]}"
