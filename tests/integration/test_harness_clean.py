"""`harness clean` after a run that was killed, beside one that goes on: real containers, namespaces and programs."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.backends.choose import choose
from harness.errors import Missing
from harness.strict import unavailable

pytestmark = pytest.mark.timeout(600)  # the first run makes an image

RUN = """
import asyncio, json, sys
from datetime import timedelta
from harness.backends.choose import choose
from harness.progress import silent
from harness.runs import run_name
from harness.servers.local import local_settings
from harness.servers.process import ProcessServer

async def main():
    backend = choose(sys.argv[1], report=silent)
    await backend.prepare([])
    async with backend.network("n") as network:
        if sys.argv[1] != "process":
            await network.host("a")
        server = ProcessServer(local_settings(network.host_address, ephemeral_timeout=timedelta(minutes=5)))
        await server.start()
        print(json.dumps({"run": run_name(), "pid": server._process.pid}), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""
PATIENCE_S = 10.0


@dataclass
class Run:
    """A run of the harness in a process of its own."""

    process: "subprocess.Popen[str]"
    name: str
    server: int


Start = Callable[[str], Run]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where runs of this test make their folders: short enough for sockets, and nobody else's sweep looks there."""
    made = Path(tempfile.mkdtemp(prefix="hc-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(made))
    monkeypatch.setenv("HARNESS_TIME_SCALE", "4")  # two servers start at a time
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts runs, and ends those that still go on."""
    runs: list[Run] = []

    def started(backend: str) -> Run:
        try:
            choose(backend)
        except Missing as problem:
            unavailable(f"{backend} backend: {problem}")
        process = subprocess.Popen([sys.executable, "-c", RUN, backend], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        runs.append(Run(process, told["run"], told["pid"]))
        return runs[-1]

    yield started
    for run in runs:
        run.process.kill()
        run.process.wait()
        assert run.process.stdout is not None
        run.process.stdout.close()
    clean()


def clean(*words: str) -> dict[str, Any]:
    """What the command says."""
    argv = [sys.executable, "-m", "harness.cli.main", "clean", "--json", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return {"code": done.returncode, **json.loads(done.stdout)}


def of(run: Run, told: dict[str, Any]) -> set[str]:
    """The kinds of what is said to be the run's."""
    return {each["kind"] for each in told["leftovers"] if each["run"].startswith(run.name)}


def left_of(run: Run, folder: Path) -> set[str]:
    """What there still is of a run, as the system tells."""
    found = {"folder" for _ in folder.glob(f"{run.name}-*")}
    found |= {"namespace" for _ in Path("/run/netns").glob(f"{run.name}.*")}
    with contextlib.suppress(OSError):
        if run.name in Path(f"/proc/{run.server}/environ").read_text():
            found.add("program")
    if shutil.which("docker"):
        for kind, words in (("container", ["ps", "-a"]), ("network", ["network", "ls"])):
            argv = ["docker", *words, "--filter", f"name={run.name}", "-q"]
            if subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip():
                found.add(kind)
    return found


ALL = {
    "process": {"folder", "program"},
    "netns": {"folder", "program", "namespace"},
    "container": {"folder", "program", "container", "network"},
}


@pytest.mark.parametrize("backend", ["process", "netns", "container"])
def test_a_killed_run_goes_and_a_living_one_stays(start: Start, folder: Path, backend: str) -> None:
    """A dry run shows it and leaves it."""
    alive, killed = start(backend), start(backend)
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    shown = clean("--dry-run")
    # Another run of netns, somebody else's, may have swept the namespaces by now.
    assert of(killed, shown) | {"namespace"} >= ALL[backend]
    assert not of(alive, shown)
    assert left_of(killed, folder) | {"namespace"} >= ALL[backend], "a dry run removes nothing"
    done = clean()
    assert (done["code"], [each["problem"] for each in done["leftovers"] if each["problem"]]) == (0, [])
    deadline = time.monotonic() + PATIENCE_S
    while left := left_of(killed, folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert left_of(alive, folder) == ALL[backend]
    assert alive.process.poll() is None


def test_what_is_not_named_by_a_run_stays(start: Start, folder: Path) -> None:
    """A folder that looks alike, and a program that only mentions a run that has ended."""
    lookalike = folder / "hsh-mine"
    lookalike.mkdir()
    argv = [sys.executable, "-c", "import time; time.sleep(60)", "/tmp/hsh-4194305-1-server-x"]
    with subprocess.Popen(argv, env={**os.environ, "SOME": "hsh-4194305-1-"}) as bystander:
        told = clean()
        assert not any(
            each["name"].startswith((str(lookalike), str(bystander.pid))) for each in told["leftovers"]
        )
        assert lookalike.is_dir()
        assert bystander.poll() is None
        bystander.kill()
