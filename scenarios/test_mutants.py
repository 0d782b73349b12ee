"""Three servers with one mistake each, of which `nox -s mutants` has all: the scenarios notice them.

Each runs in a process of its own, on machines that cost little, with one release.
"""

import asyncio
import sys
from pathlib import Path

import pytest

from harness.backends.network import Backend
from harness.errors import NotOffered
from harness.mutants.catalogue import ALL

SAMPLE = ("single-use-key-used-twice", "names-not-unique", "search-domains-lost")
RUN_SECONDS = 240.0


async def mutants(*arguments: str) -> tuple[int, str]:
    """The exit code of `python -m harness.mutants`, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "harness.mutants", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), RUN_SECONDS)
    return process.returncode or 0, output.decode()


@pytest.mark.asyncio(loop_scope="session")
async def test_mistakes_of_the_server_are_noticed(
    request: pytest.FixtureRequest, backend: Backend, tmp_path: Path
) -> None:
    """Real clients run into each of them; a sound server passes the same scenarios."""
    if request.config.getoption("--control-image") or request.config.getoption("--control-url"):
        raise NotOffered("mistakes are put into our own server only")
    assert set(SAMPLE) <= {mutant.name for mutant in ALL}
    place = "process" if backend.name == "container" else backend.name
    code, printed = await mutants(
        *SAMPLE, f"--backend={place}", "--client-versions=newest", f"--artifacts={tmp_path}"
    )
    assert code == 0, printed
    assert printed.count(": killed in") == len(SAMPLE), printed
