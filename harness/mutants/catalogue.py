"""All mutants. A new one names the scenario that must notice it; where there is none, the scenario comes first."""

from collections.abc import Sequence

from harness.errors import HarnessError
from harness.mutants import access, admission, delivery, routing
from harness.mutants.patches import Mutant

ALL: Sequence[Mutant] = (*access.MUTANTS, *delivery.MUTANTS, *admission.MUTANTS, *routing.MUTANTS)


class UnknownMutant(HarnessError):
    """No mutant has this name; the text has those that there are."""


def named(name: str) -> Mutant:
    """The mutant of this name. Raises UnknownMutant."""
    found = next((mutant for mutant in ALL if mutant.name == name), None)
    if found is None:
        raise UnknownMutant(f"no mutant is called {name!r}: there are {', '.join(each.name for each in ALL)}")
    return found
