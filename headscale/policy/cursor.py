"""Walking down a HuJSON tree with every complaint noted where it belongs.

A cursor is a value and its path. Reading what is not there as expected notes a complaint and goes on with
nothing, so that one reading finds everything that is wrong.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from typing import TypeVar

from headscale.policy.complaints import COMPLAINTS_MAX, Complaint
from headscale.policy.document import Place
from headscale.policy.hujson_text import join_path
from headscale.policy.hujson_tree import Array, Literal, Number, Object, String, Tree, Value, to_python

T = TypeVar("T")


@dataclass(slots=True)
class Notes:
    """The tree that is read, and what is wrong with it so far."""

    tree: Tree
    complaints: list[Complaint] = field(default_factory=list)
    left_out: int = 0

    def all(self) -> tuple[Complaint, ...]:
        """Every complaint, and how many were not noted."""
        more = (Complaint(f"and {self.left_out} more"),) if self.left_out else ()
        return (*self.complaints, *more)


class Cursor:
    """See the module. Made by the hundred thousand, so it works out its path only when asked."""

    __slots__ = ("_above", "_step", "notes", "value")

    def __init__(
        self, notes: Notes, value: Value, above: "Cursor | None" = None, step: str | int = ""
    ) -> None:
        self.notes = notes
        self.value = value
        self._above = above
        self._step = step

    @property
    def path(self) -> str:
        """Where the value stands, such as `acls[0].src[1]`; the document itself is the empty path."""
        steps = []
        at: Cursor = self
        while at._above is not None:
            steps.append(at._step)
            at = at._above
        path = ""
        for step in reversed(steps):
            path = join_path(path, step)
        return path

    @property
    def place(self) -> Place:
        """Where the value stands."""
        line, column = self.notes.tree.line_column(self.value.start)
        return Place(line, column, self.path)

    @property
    def is_null(self) -> bool:
        """Whether `null` stands here, which counts as absent."""
        return isinstance(self.value, Literal) and self.value.value is None

    def complain(self, message: str) -> None:
        """Note that this is wrong here."""
        if len(self.notes.complaints) >= COMPLAINTS_MAX:
            self.notes.left_out += 1
            return
        line, column = self.notes.tree.line_column(self.value.start)
        complaint = Complaint(message, line, column, self.path)
        if complaint not in self.notes.complaints:
            self.notes.complaints.append(complaint)

    def members(self) -> Iterator[tuple["Cursor", "Cursor"]]:
        """The keys and values of an object; nothing, and a complaint, for anything else but null."""
        if isinstance(self.value, Object):
            for member in self.value.members:
                key, step = member.key, member.key.text
                yield Cursor(self.notes, key, self, step), Cursor(self.notes, member.value, self, step)
        elif not self.is_null:
            self.complain(f"expected an object, found {kind_of(self.value)}")

    def fields(
        self, known: Sequence[str], refused: Mapping[str, str] | None = None, *, remarks: bool = False
    ) -> dict[str, "Cursor"]:
        """The members with a known name, whatever its case; any other is complained of.

        `refused` says of names that exist elsewhere why they are not taken here. With `remarks` names that begin with
        # are passed over. A null counts as absent.
        """
        folded = _folded(tuple(known))
        found: dict[str, Cursor] = {}
        for key, value in self.members():
            name = folded.get(key.text) or folded.get(key.text.lower())
            if name is None and remarks and key.text.startswith("#"):
                continue
            if name is None:
                reason = _folded_texts(refused).get(key.text.lower()) if refused else None
                key.complain(reason or f'unknown field: "{key.text}"{_nearest(key.text, known)}')
            elif name in found:
                key.complain(f'duplicate field: "{key.text}" stands for "{name}" a second time')
            elif not value.is_null:
                found[name] = value
        return found

    @property
    def text(self) -> str:
        """The string that stands here, for a cursor on a key."""
        assert isinstance(self.value, String)
        return self.value.text

    def items(self) -> Iterator["Cursor"]:
        """The elements of an array; nothing, and a complaint, for anything else but null."""
        if isinstance(self.value, Array):
            for index, item in enumerate(self.value.items):
                yield Cursor(self.notes, item, self, index)
        elif not self.is_null:
            self.complain(f"expected a list, found {kind_of(self.value)}")

    def string(self) -> str | None:
        """The string; None, and a complaint, for anything else."""
        if isinstance(self.value, String):
            return self.value.text
        self.complain(f"expected a string, found {kind_of(self.value)}")
        return None

    def strings(self) -> Iterator[tuple["Cursor", str]]:
        """The strings of an array, each with its place."""
        for item in self.items():
            text = item.string()
            if text is not None:
                yield item, text

    def read(self, make: Callable[[str], T]) -> T | None:
        """What this makes of the string here; None, and a complaint, when it raises ValueError."""
        text = self.string()
        if text is None:
            return None
        try:
            return make(text)
        except ValueError as problem:
            self.complain(str(problem))
            return None

    def read_all(self, make: Callable[[str], T]) -> Iterator[tuple["Cursor", T]]:
        """What this makes of each string of an array, without those that it complained of."""
        for item in self.items():
            made = item.read(make)
            if made is not None:
                yield item, made

    def boolean(self) -> bool:
        """True or false; false, and a complaint, for anything else."""
        if isinstance(self.value, Literal) and self.value.value is not None:
            return self.value.value
        self.complain(f"expected true or false, found {kind_of(self.value)}")
        return False

    def plain(self) -> object:
        """The value as plain Python."""
        return to_python(self.value)


def _folded_texts(refused: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): reason for name, reason in refused.items()}


@lru_cache(maxsize=64)
def _folded(known: tuple[str, ...]) -> dict[str, str]:
    return {spelling: name for name in known for spelling in (name.lower(), name)}


def kind_of(value: Value) -> str:
    """What a value is, in words."""
    match value:
        case String():
            return "a string"
        case Number():
            return "a number"
        case Array():
            return "a list"
        case Object():
            return "an object"
        case _:
            return {True: "true", False: "false", None: "null"}[value.value]


def _nearest(name: str, known: Sequence[str]) -> str:
    folded = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)
    return f', did you mean "{folded[close[0]]}"?' if close else f" (known are {', '.join(known)})"
