"""`--client-versions=pairwise`: each scenario runs over few tailnets in which all releases meet, as so many tests.

`pairwise:3` makes tailnets of three clients; four unless told. Called by the plugin.
"""

import pytest

from harness.covering import covering
from harness.versions import RELEASES, RUST, Release, UnknownVersion, resolve

PAIRWISE = "pairwise"
SIZE = 4


def selections(text: str) -> list[tuple[Release, ...]]:
    """The releases of each run over the scenarios; one, unless the text is `pairwise`. Raises UnknownVersion."""
    name, _, size = text.partition(":")
    if name.strip() != PAIRWISE:
        return [resolve(text)]
    try:
        return covering((*RELEASES, RUST), int(size or SIZE))
    except ValueError as problem:
        raise UnknownVersion(
            f"{text!r}: {PAIRWISE} takes how many clients a tailnet has, at least 2, such as {PAIRWISE}:3"
        ) from problem


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Make a test of each selection, where there are several and the test has clients."""
    chosen = selections(metafunc.config.getoption("--client-versions"))
    if len(chosen) > 1 and "releases" in metafunc.fixturenames:
        names = ["+".join(map(str, releases)) for releases in chosen]
        metafunc.parametrize("releases", chosen, ids=names, indirect=True, scope="session")
