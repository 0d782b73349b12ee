"""The lossless tree of a HuJSON document, for those who read a policy and those who show it.

The tree keeps the text and each value its half-open offsets in it, in characters, so a complaint can point at
the very value and printing gives back every comment. Values are equal only to themselves: two documents are
compared by `to_python`. Nothing here recurses, so depth never costs more than memory.

Values are frozen structs that the garbage collector does not follow, which a tree without cycles can afford:
with a million of them its passes took half of the time to parse.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, TypeAlias

from msgspec import Struct

from headscale.policy.hujson_text import line_column, skip_extra


class String(Struct, frozen=True, eq=False, gc=False):
    """A string; `text` is what it means, its offsets include the quotes."""

    start: int
    end: int
    text: str


class Number(Struct, frozen=True, eq=False, gc=False):
    """An integer within 64 bits, or a finite double when written with a point or an exponent."""

    start: int
    end: int
    value: int | float


class Literal(Struct, frozen=True, eq=False, gc=False):
    """`true`, `false` or `null`."""

    start: int
    end: int
    value: bool | None


class Array(Struct, frozen=True, eq=False, gc=False):
    """An array; its offsets include the brackets."""

    start: int
    end: int
    items: tuple["Value", ...]

    def __repr__(self) -> str:
        return f"Array(start={self.start}, end={self.end}, {len(self.items)} items)"


class Member(Struct, frozen=True, eq=False, gc=False):
    """A key of an object and its value."""

    key: String
    value: "Value"

    def __repr__(self) -> str:
        return f"Member(key={self.key}, value at {self.value.start})"


class Object(Struct, frozen=True, eq=False, gc=False):
    """An object, its members in the order of the text, no key twice; its offsets include the braces."""

    start: int
    end: int
    members: tuple[Member, ...]

    def __repr__(self) -> str:
        return f"Object(start={self.start}, end={self.end}, {len(self.members)} members)"


Value: TypeAlias = String | Number | Literal | Array | Object
_WORDS: Final = {True: "true", False: "false", None: "null"}


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A document: its text, the value in it, and the offset of each line's first character."""

    text: str = field(repr=False)
    root: Value
    line_starts: "array[int]" = field(repr=False)

    def line_column(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1, in characters."""
        return line_column(self.line_starts, offset)


class Kind(Enum):
    """What a piece of the text is for."""

    TOKEN = auto()
    EXTRA = auto()  # white space, comments, trailing commas: what plain JSON does without


def print_text(tree: Tree) -> str:
    """The document as text: what it was parsed from, character for character."""
    return "".join(piece for _, piece in pieces(tree))


def pieces(tree: Tree) -> Iterator[tuple[Kind, str]]:
    """The document in pieces, in order.

    Punctuation and literals come from the tree, strings and numbers from their offsets; only what stands
    between them is read from the text, so a tree with a wrong offset does not print what was parsed.
    """
    text, at = tree.text, tree.root.start
    yield Kind.EXTRA, text[:at]
    for separator, token in _tokens(tree):
        if separator:
            if not text.startswith(separator[0], at):
                end = skip_extra(text, at)
                yield Kind.EXTRA, text[at:end]
                at = end
            if separator is not _TRAILING:
                yield Kind.TOKEN, separator
                at += 1
            elif text.startswith(",", at):
                yield Kind.EXTRA, ","
                at += 1
        if not text.startswith(token, at):
            end = skip_extra(text, at)
            yield Kind.EXTRA, text[at:end]
            at = end
        yield Kind.TOKEN, token
        at += len(token)
    yield Kind.EXTRA, text[at : skip_extra(text, at)]


_TRAILING: Final = ", or nothing"


def _tokens(tree: Tree) -> Iterator[tuple[str, str]]:
    """Every value's and key's tokens, each with the separator that stands before it."""
    text = tree.text
    todo: list[tuple[str, Value | str]] = [("", tree.root)]
    while todo:
        separator, value = todo.pop()
        if isinstance(value, String | Number):
            yield separator, text[value.start : value.end]
        elif isinstance(value, Array):
            yield separator, "["
            todo.append((_TRAILING if value.items else "", "]"))
            todo.extend((",", item) for item in value.items[:0:-1])
            todo.extend(("", item) for item in value.items[:1])
        elif isinstance(value, Object):
            yield separator, "{"
            todo.append((_TRAILING if value.members else "", "}"))
            for member in reversed(value.members):
                todo += (":", member.value), ("" if member is value.members[0] else ",", member.key)
        else:
            yield separator, value if isinstance(value, str) else _WORDS[value.value]


def to_python(value: Value) -> object:
    """The plain value: dict, list, str, int, float, bool or None."""
    todo: list[tuple[Array | Object, list[object] | dict[str, object]]] = []

    def shallow(value: Value) -> object:
        """A leaf's value, or an empty container that is filled later."""
        if isinstance(value, String):
            return value.text
        if isinstance(value, Number | Literal):
            return value.value
        made: list[object] | dict[str, object] = [] if isinstance(value, Array) else {}
        todo.append((value, made))
        return made

    root = shallow(value)
    while todo:
        source, made = todo.pop()
        if isinstance(source, Array) and isinstance(made, list):
            made.extend(map(shallow, source.items))
        elif isinstance(source, Object) and isinstance(made, dict):
            made.update((member.key.text, shallow(member.value)) for member in source.members)
    return root
