"""What runs left that were killed: programs, containers, networks, namespaces and folders, and their removal.

Only what a run has named is looked at, and only runs whose process is gone lose anything. So this is safe beside runs
that go on, and does nothing to what people made who share the machine or its engine.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from harness.backends.namespaces import NAMED
from harness.errors import Missing
from harness.runs import VARIABLE, is_dead

KINDS: Final = ("program", "container", "network", "namespace", "folder")
"""In the order of removal: what comes first holds on to what comes later."""
ENDING_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing of a run that has ended. `remove` raises OSError or the engine's errors."""

    kind: str
    name: str
    run: str
    remove: Callable[[], None] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Survey:
    """What is to go, and what may not: `kept` are reasons, for people."""

    leftovers: tuple[Leftover, ...]
    kept: tuple[str, ...]


def survey() -> Survey:
    """Look at everything. Blocks, for seconds when an engine is slow."""
    contained, kept = _in_containers()
    found = [*_programs(), *contained, *_namespaces(), *_folders()]
    return Survey(tuple(sorted(found, key=lambda each: KINDS.index(each.kind))), tuple(kept))


def remove(leftover: Leftover) -> str | None:
    """Remove it; returns why not, or None. What is gone already is removed."""
    try:
        leftover.remove()
    except FileNotFoundError:
        return None
    except Exception as error:  # the engine's errors are not known here, and one must not keep the others
        return str(error)
    return None


def _programs() -> Iterator[Leftover]:
    """What a run started on the host: servers and their like, which outlive it."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            owner = _variable(folder / "environ")
            if owner and is_dead(owner):
                words = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                )
                pid = int(folder.name)
                yield Leftover("program", f"{pid} {words[:100]}", owner.rstrip("-"), partial(_end, pid))


def _variable(environ: Path) -> str:
    marks = [part for part in environ.read_bytes().split(b"\0") if part.startswith(f"{VARIABLE}=".encode())]
    return marks[0].partition(b"=")[2].decode(errors="replace") if marks else ""


def _end(pid: int) -> None:
    """Looked at once more before: the number may be another's by now."""
    try:
        if not is_dead(_variable(Path(f"/proc/{pid}/environ"))):
            return
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + ENDING_SECONDS
        while is_dead(_variable(Path(f"/proc/{pid}/environ"))):
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {pid} does not end")
            time.sleep(0.02)
    except (FileNotFoundError, ProcessLookupError):
        return


def _in_containers() -> tuple[list[Leftover], list[str]]:
    try:
        from harness.backends.engine import connect, labelled

        engine = connect()
    except (ImportError, Missing):
        return [], []
    found, kept = labelled(engine)
    return [Leftover(each.kind, each.name, each.run, each.remove) for each in found], kept


def _namespaces() -> Iterator[Leftover]:
    for path in sorted(NAMED.glob("hsh-*")) if NAMED.is_dir() else ():
        if is_dead(path.name):
            yield Leftover("namespace", path.name, path.name.partition(".")[0], partial(_unname, path))


def _unname(namespace: Path) -> None:
    done = subprocess.run(["ip", "netns", "del", namespace.name], capture_output=True, text=True, check=False)
    if done.returncode != 0 and namespace.exists():
        raise OSError(done.stderr.strip())


def _folders() -> Iterator[Leftover]:
    for folder in sorted(Path(tempfile.gettempdir()).glob("hsh-*")):
        if is_dead(folder.name):
            run = "-".join(folder.name.split("-")[:3])
            yield Leftover("folder", str(folder), run, partial(shutil.rmtree, folder))
