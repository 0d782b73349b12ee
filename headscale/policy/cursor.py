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

    __slots__ = ("_above", "_path", "_step", "notes", "value")

    def __init__(
        self, notes: Notes, value: Value, above: "Cursor | None" = None, step: str | int = ""
    ) -> None:
        self.notes = notes
        self.value = value
        self._above = above
        self._step = step
        self._path: str | None = None

    @property
    def path(self) -> str:
        """Where the value stands, such as `acls[0].src[1]`; the document itself is the empty path."""
        todo: list[Cursor] = []
        at: Cursor | None = self
        while at is not None and at._path is None:
            todo.append(at)
            at = at._above
        for cursor in reversed(todo):
            above = cursor._above
            cursor._path = "" if above is None else join_path(above._path or "", cursor._step)
        return self._path or ""

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
        if not isinstance(self.value, Object):
            next(self.members(), None)  # complains
            return found
        for member in self.value.members:
            text = member.key.text
            name = folded.get(text) or folded.get(text.lower())
            if name is not None and name not in found:
                value = Cursor(self.notes, member.value, self, text)
                if not value.is_null:
                    found[name] = value
            elif name is not None or not (remarks and text.startswith("#")):
                key = Cursor(self.notes, member.key, self, text)
                reason = _folded_texts(refused).get(text.lower()) if refused and name is None else None
                key.complain(reason or _unexpected(text, name, known))
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

    def read_all(self, make: Callable[[str], T]) -> Iterator[T]:
        """What this makes of each string of an array, without those that it complained of."""
        return (made for _, made in self.read_each(make))

    def read_each(self, make: Callable[[str], T]) -> Iterator[tuple[int, T]]:
        """As `read_all`, with the place of each in the array."""
        for at, item in enumerate(self.value.items if isinstance(self.value, Array) else self.items()):
            if isinstance(item, String):
                try:
                    yield at, make(item.text)
                    continue
                except ValueError as problem:
                    self.item(at).complain(str(problem))
            else:
                self.item(at).string()  # complains

    def item(self, at: int) -> "Cursor":
        """The element of an array at this place."""
        assert isinstance(self.value, Array)
        return Cursor(self.notes, self.value.items[at], self, at)

    def boolean(self) -> bool:
        """True or false; false, and a complaint, for anything else."""
        if isinstance(self.value, Literal) and self.value.value is not None:
            return self.value.value
        self.complain(f"expected true or false, found {kind_of(self.value)}")
        return False

    def plain(self) -> object:
        """The value as plain Python."""
        return to_python(self.value)


def _unexpected(text: str, name: str | None, known: Sequence[str]) -> str:
    if name is None:
        return f'unknown field: "{text}"{_nearest(text, known)}'
    return f'duplicate field: "{text}" stands for "{name}" a second time'


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
