"""Entries of a policy filed by the labels that they are about, so that a node is not compared with each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from headscale.policy.who import Who

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Filed(Generic[T]):
    """All entries in order, the numbers of those about each label, and of those that more than labels decide."""

    entries: tuple[T, ...]
    _by_label: dict[str, list[int]]
    _others: tuple[int, ...]

    def __iter__(self) -> Iterator[T]:
        return iter(self.entries)

    def __bool__(self) -> bool:
        return bool(self.entries)

    def others(self) -> Iterator[T]:
        """The entries that more than labels decide."""
        return (self.entries[number] for number in self._others)

    def about(self, labels: Iterable[str]) -> Iterator[T]:
        """The entries that may be about a node with these labels, in order."""
        numbers = {*self._others}.union(*(self._by_label.get(label, ()) for label in labels))
        return (self.entries[number] for number in sorted(numbers))


def filed(entries: Iterable[tuple[Who, bool, T]]) -> Filed[T]:
    """Entries, each with whom it is about, and whether it may be about others as well."""
    listed: list[T] = []
    by_label: dict[str, list[int]] = {}
    others: list[int] = []
    for number, (who, may_be_others, entry) in enumerate(entries):
        listed.append(entry)
        if may_be_others:
            others.append(number)
            continue
        for label in who.labels:
            by_label.setdefault(label, []).append(number)
    return Filed(tuple(listed), by_label, tuple(others))
