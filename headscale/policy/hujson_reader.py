"""The one pass that turns characters into a tree, for `hujson.parse` alone.

What mostly comes next is matched whole by one compiled pattern, separators included; only where that fails does
the reader go token by token, through comments and to the error. It keeps its own stack.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Final

from headscale.policy.hujson_text import (
    BOM,
    HuJSONError,
    bad_string,
    error_at,
    line_of,
    no_key,
    no_separator,
    no_value,
    not_expected,
    quoted,
    shown,
    skip_extra,
    step,
)
from headscale.policy.hujson_tree import Array, Literal, Member, Number, Object, String, Value


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a document is read.

    size_bytes: in UTF-8; the largest policies that operators send have some 10 MiB.
    depth: arrays and objects within each other; a policy has five, and what reads the tree may recurse.
    values: without keys; at some 300 bytes each the tree stays within what a small server has.
    string_chars: between the quotes, as written; no name, comment or script in a policy comes near.
    """

    size_bytes: int = 10 * 1024 * 1024
    depth: int = 128
    values: int = 2_000_000
    string_chars: int = 1024 * 1024


# Integers are read as 64 bits with a sign, as Go's decoder does.
INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1
_INTEGER_DIGITS: Final = len(str(INTEGER_MIN))

_SPACE: Final = r"[ \t\r\n]*+"
_PLAIN_STRING: Final = r'"([^"\\\x00-\x1f]*+)"'  # without escapes, so that it stands for itself
_STRING: Final = (
    _PLAIN_STRING + r'|("[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})[^"\\\x00-\x1f]*+)++")'
)
_INTEGER: Final = r"-?(?:0|[1-9][0-9]*+)"
_ENDS: Final = r"(?![\w.+-])"
_LEAF_OR_OPENING: Final = (
    rf"{_SPACE}(?:{_STRING}|({_INTEGER}){_ENDS}"
    rf"|({_INTEGER}(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+){_ENDS}|(true|false|null){_ENDS}|(\[)|(\{{))"
)
_MEMBER: Final = rf"{_SPACE}{_PLAIN_STRING}{_SPACE}:{_LEAF_OR_OPENING}"
# Group 1 is the key, if there is one, so that the groups of the value are the same in all of these.
_VALUE: Final = re.compile(f"(){_LEAF_OR_OPENING}")
_KEY, _PLAIN, _ESCAPED, _WHOLE, _FLOAT, _WORD, _BRACKET, _BRACE, _CLOSER = range(1, 10)
_KEY_ALONE: Final = re.compile(f"()(?:{_STRING})")
_WORDS: Final = {"true": True, "false": False, "null": None}
# A pair of escapes that is one character, half of one alone (the group), or any other escape.
_SURROGATES: Final = re.compile(
    r"\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|(\\u[dD][89a-fA-F][0-9A-Fa-f]{2})|\\."
)


class _OpenArray:
    """An array whose bracket is not closed yet."""

    __slots__ = ("items", "start")
    closer = "]"
    # What mostly comes first and after a value, in one match: most of a document is read by these.
    first = re.compile(rf"(){_LEAF_OR_OPENING}|{_SPACE}(\])").match
    following = re.compile(rf"{_SPACE}(?:,(){_LEAF_OR_OPENING}|,?+{_SPACE}(\]))").match

    def __init__(self, start: int) -> None:
        self.start = start
        self.items: list[Value] = []

    def add(self, value: Value) -> None:
        self.items.append(value)

    def closed(self, end: int) -> Array:
        return Array(self.start, end, tuple(self.items))

    def step(self) -> str:
        return step(len(self.items))


class _OpenObject:
    """An object whose brace is not closed yet, and the key that waits for its value."""

    __slots__ = ("key", "members", "start")
    closer = "}"
    first = re.compile(rf"{_MEMBER}|{_SPACE}(\}})").match
    following = re.compile(rf"{_SPACE}(?:,{_MEMBER}|,?+{_SPACE}(\}}))").match

    def __init__(self, start: int) -> None:
        self.start = start
        self.members: dict[str, Member] = {}
        self.key: String | None = None

    def add(self, value: Value) -> None:
        if self.key is not None:
            self.members[self.key.text] = Member(self.key, value)
            self.key = None

    def closed(self, end: int) -> Object:
        return Object(self.start, end, tuple(self.members.values()))

    def step(self) -> str:
        return step(self.key.text) if self.key else ""


class Reader:
    """One pass over a text; `at` is the next character, `open` what is not closed yet."""

    __slots__ = ("at", "keys", "left", "limits", "open", "text")

    def __init__(self, text: str, limits: Limits) -> None:
        self.text = text
        self.limits = limits
        self.at = 1 if text.startswith(BOM) else 0
        self.left = limits.values
        self.open: list[_OpenArray | _OpenObject] = []
        self.keys: dict[str, str] = {}  # one copy of each key, most of which come again and again

    def document(self) -> Value:
        """The whole text: a value, and nothing after it."""
        value = self._value()
        while value is None or self.open:
            inner = self.open[-1]
            if value is None:
                usual = inner.first(self.text, self.at)
            else:
                inner.add(value)
                usual = inner.following(self.text, self.at)
            if usual is None:
                value = self._unusual(inner, comma_due=value is not None)
            elif usual.lastindex == _CLOSER:
                self.at = usual.end()
                value = self.open.pop().closed(self.at)
            else:
                if isinstance(inner, _OpenObject):
                    inner.key = self._new_key(usual, _KEY, inner.members)
                if usual.lastindex == _PLAIN:  # as most are, so the way to them is short
                    start, end = usual.span(_PLAIN)
                    if self.left > 0 and end - start <= self.limits.string_chars:
                        self.left -= 1
                        self.at = end + 1
                        value = String(start - 1, end + 1, usual[_PLAIN])
                        continue
                value = self._leaf(usual)
        self.at = skip_extra(self.text, self.at)
        if self.at < len(self.text):
            what = "the end of the document, which has one value"
            raise error_at(self.text, self.at, not_expected(self.text, self.at, what))
        return value

    def _unusual(self, inner: _OpenArray | _OpenObject, *, comma_due: bool) -> Value | None:
        """The rest: comments between tokens, escapes in keys, errors."""
        goes_on = not comma_due or self._eat(",")
        if self._eat(inner.closer):
            return self.open.pop().closed(self.at)
        if not goes_on:
            raise self._no_separator(inner.closer)
        if isinstance(inner, _OpenObject):
            inner.key = self._key(inner.members)
        return self._value()

    def _eat(self, char: str) -> bool:
        """Step over white space, comments and this character; false when something else stands there."""
        if not self.text.startswith(char, self.at):
            self.at = skip_extra(self.text, self.at)
            if not self.text.startswith(char, self.at):
                return False
        self.at += 1
        return True

    def _value(self) -> Value | None:
        """The leaf that stands next, or None when an array or object begins."""
        match = _VALUE.match(self.text, self.at)
        if match is None:
            self.at = skip_extra(self.text, self.at)
            match = _VALUE.match(self.text, self.at)
            if match is None:
                raise self._no_value()
        return self._leaf(match)

    def _leaf(self, match: re.Match[str]) -> Value | None:
        """The value that was matched, or None when an array or object begins."""
        kind = match.lastindex or 0
        start, end = match.span(kind)
        self.at = end
        self.left -= 1
        if self.left < 0:
            most = self.limits.values
            raise self._error(start, f"the document has more values than the limit of {most:,} (values)")
        if kind == _PLAIN and end - start <= self.limits.string_chars:
            self.at = end + 1
            return String(start - 1, end + 1, match[_PLAIN])
        if kind in (_PLAIN, _ESCAPED):
            start, self.at, text = self._string(match, kind)
            return String(start, self.at, text)
        if kind in (_WHOLE, _FLOAT):
            return Number(start, end, self._number(match, kind))
        if kind == _WORD:
            return Literal(start, end, _WORDS[match[kind]])
        if len(self.open) >= self.limits.depth:
            most = self.limits.depth
            raise self._error(start, f"arrays and objects go deeper than the limit of {most:,} (depth)")
        self.open.append(_OpenArray(start) if kind == _BRACKET else _OpenObject(start))
        return None

    def _key(self, members: dict[str, Member]) -> String:
        """The key that stands next, with its colon."""
        match = _KEY_ALONE.match(self.text, self.at)
        if match is None:
            raise self._no_key(members)
        self.at = match.end()
        key = self._new_key(match, match.lastindex or 0, members)
        if not self._eat(":"):
            what = not_expected(self.text, self.at, f"':' after the key {quoted(key.text)}")
            raise self._error(self.at, what)
        return key

    def _new_key(self, match: re.Match[str], group: int, members: dict[str, Member]) -> String:
        start, end = match.span(group)
        if group == _KEY and end - start <= self.limits.string_chars:
            start, end, text = start - 1, end + 1, match[group]
        else:
            start, end, text = self._string(match, group)
        if text in members:
            first = line_of(self.text, members[text].key.start)
            raise self._error(start, f"the key {quoted(text)} stands in line {first} already")
        return String(start, end, self.keys.setdefault(text, text))

    def _string(self, match: re.Match[str], group: int) -> tuple[int, int, str]:
        """Where the string of this group begins and ends, and what it means."""
        start, end = match.span(group)
        if group != _ESCAPED:
            start, end = start - 1, end + 1
        if end - start - 2 > self.limits.string_chars:
            most = self.limits.string_chars
            raise self._error(start, f"the string is longer than the limit of {most:,} (string_chars)")
        return start, end, match[group] if group != _ESCAPED else self._unescaped(start, end)

    def _unescaped(self, start: int, end: int) -> str:
        for escape in _SURROGATES.finditer(self.text, start, end):
            if escape[1]:
                what = f"{escape[1]} is half of a surrogate pair and no character alone"
                raise self._error(escape.start(), what)
        text: str = json.loads(self.text[start:end])
        return text

    def _number(self, match: re.Match[str], group: int) -> int | float:
        digits = match[group]
        # Long digits are not even tried: their conversion takes the square of their number.
        if group == _WHOLE and len(digits) <= _INTEGER_DIGITS:
            integer = int(digits)
            if INTEGER_MIN <= integer <= INTEGER_MAX:
                return integer
        elif group == _FLOAT and math.isfinite(number := float(digits)):
            return number
        rule = "an integer fits 64 bits" if group == _WHOLE else "a number fits a double"
        raise self._error(match.start(group), f"{rule}, found {shown(digits)}")

    def _error(self, offset: int, what: str, *, levels: int | None = None) -> HuJSONError:
        path = "".join(inner.step() for inner in self.open[:levels]).removeprefix(".")
        return error_at(self.text, offset, what, path=path)

    def _no_separator(self, closer: str) -> HuJSONError:
        if self.at >= len(self.text):
            return self._never_closed()
        what = no_separator(self.text, self.at, closer)
        return self._error(self.at, what, levels=len(self.open) - 1)

    def _no_key(self, members: dict[str, Member]) -> HuJSONError:
        text, at = self.text, self.at
        if at >= len(text):
            return self._never_closed()
        if text[at] == '"':
            at, what = bad_string(text, at)
            return self._error(at, what)
        if text[at] == "," and members:
            what = "two commas in a row: expected a key in double quotes or '}' after the first"
            return self._error(at, what)
        return self._error(at, no_key(text, at, "a key in double quotes or '}'"))

    def _no_value(self) -> HuJSONError:
        text, at = self.text, self.at
        inner = self.open[-1] if self.open else None
        if at >= len(text) and not inner:
            return self._error(at, "the document is empty, expected a value")
        if at >= len(text):
            return self._never_closed()
        if text[at] == '"':
            at, what = bad_string(text, at)
            return self._error(at, what)
        if not isinstance(inner, _OpenArray):
            return self._error(at, no_value(text, at, "a value after ':'" if inner else "a value"))
        if text[at] == "," and inner.items:
            return self._error(at, "two commas in a row: expected a value or ']' after the first")
        return self._error(at, no_value(text, at, "a value or ']'"))

    def _never_closed(self) -> HuJSONError:
        """The text ends too early; the path is that of the innermost that is open."""
        inner = self.open[-1]
        what = f"'{self.text[inner.start]}' of line {line_of(self.text, inner.start)} is never closed"
        return self._error(len(self.text), what, levels=len(self.open) - 1)
