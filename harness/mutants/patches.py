"""A mistake put into the server of this process while it runs: functions are replaced, and put back.

The server's own code knows nothing of this. A patch names the function it replaces; when that is gone the mutant no
longer applies, which is an error and no survival.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from harness.errors import HarnessError
from headscale.errors import HeadscaleError

Function = Callable[..., Any]
PACKAGE = "headscale"
APPLICATION = "headscale.app"
"""Imported first, so that all who imported a function by name are known when it is replaced."""


class DoesNotApply(HarnessError):
    """The server has no such function any more; the mutant is to be written anew."""


@dataclass(frozen=True, slots=True)
class Patch:
    """`where` is `package.module:function` or `package.module:Class.method`; `make` gets what is there and returns what
    comes in its place, with the same arguments."""

    where: str
    make: Callable[[Function], Function]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A server with a mistake. `killed_by` are the scenarios that must fail with it, one being enough."""

    name: str
    mistake: str
    killed_by: Sequence[str]
    patches: Sequence[Patch]


@dataclass
class Record:
    """What became of a mutant's patches: how often they ran, and what of theirs went wrong by itself."""

    calls: int = 0
    problems: list[str] = field(default_factory=list)


@contextmanager
def applied(mutant: Mutant) -> Iterator[Record]:
    """The mistake is in the server until the context ends. Raises DoesNotApply."""
    importlib.import_module(APPLICATION)
    record = Record()
    with ExitStack() as stack:
        for patch in mutant.patches:
            stack.enter_context(_replaced(mutant, patch, record))
        yield record


@contextmanager
def _replaced(mutant: Mutant, patch: Patch, record: Record) -> Iterator[None]:
    owner, name, original = _find(mutant, patch)
    replacement = _recorded(original, patch.make(original), record)
    places = _importers(original, name) if isinstance(owner, ModuleType) else [(owner, name)]
    for place, known_as in places:
        setattr(place, known_as, replacement)
    try:
        yield
    finally:
        for place, known_as in places:
            setattr(place, known_as, original)


def _find(mutant: Mutant, patch: Patch) -> tuple[Any, str, Function]:
    module_name, _, path = patch.where.partition(":")
    try:
        owner: Any = importlib.import_module(module_name)
        *classes, name = path.split(".")
        for each in classes:
            owner = getattr(owner, each)
        original = owner.__dict__[name]
    except (ImportError, AttributeError, KeyError):
        raise DoesNotApply(f"the mutant {mutant.name} does not apply: there is no {patch.where}") from None
    if not callable(original):
        raise DoesNotApply(f"the mutant {mutant.name} does not apply: {patch.where} is no function")
    return owner, name, original


def _importers(original: Function, name: str) -> list[tuple[Any, str]]:
    """Every module of the server that has the function, under whatever name."""
    modules = [
        module
        for module_name, module in list(sys.modules.items())
        if module is not None and module_name.partition(".")[0] == PACKAGE
    ]
    return [
        (module, known_as)
        for module in modules
        for known_as, value in list(vars(module).items())
        if value is original
    ]


def _recorded(original: Function, mutated: Function, record: Record) -> Function:
    """The replacement, counted. What it raises and no server of ours would on purpose is the mutant's own fault."""

    @functools.wraps(original)
    def run(*args: Any, **kwargs: Any) -> Any:
        record.calls += 1
        try:
            return mutated(*args, **kwargs)
        except HeadscaleError:
            raise
        except Exception as problem:
            record.problems.append(f"{type(problem).__name__}: {problem}")
            raise

    return run
