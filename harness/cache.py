"""A directory of things that are dear to make and the same for the same inputs: client binaries, toolchains,
a base system.

An entry is a folder named by its kind and the hash of its inputs. It is built in a folder of its own and
renamed into place, so it is whole or absent; a lock for each entry keeps two runs from building it twice.
Deleting the directory is always safe while no run is active.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from harness.progress import Report

DIGEST_CHARACTERS = 16
"""64 bits of the inputs' hash: no clash among the few hundred entries a directory ever has."""


def cache_root(environ: Mapping[str, str]) -> Path:
    """HARNESS_CACHE, else `headscale-harness` in the user's XDG cache directory."""
    if override := environ.get("HARNESS_CACHE"):
        return Path(override).absolute()
    home = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache"
    return Path(home) / "headscale-harness"


def entry_name(kind: str, inputs: Mapping[str, str]) -> str:
    """The folder's name: the kind, and the hash of everything that the content depends on."""
    text = json.dumps(dict(inputs), sort_keys=True)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARACTERS]}"


class Cache:
    """The cache directory. `report` hears when another run is building what we want."""

    def __init__(self, root: Path, *, report: Report) -> None:
        self._root = root
        self._report = report

    def entry(self, kind: str, inputs: Mapping[str, str], build: Callable[[Path], None]) -> Path:
        """The entry for these inputs, made by `build(folder)` if it is not there yet.

        What `build` raises passes through and leaves nothing behind.
        """
        name = entry_name(kind, inputs)
        final = self._root / name
        if final.is_dir():
            return final
        with self._locked(name):
            if not final.is_dir():
                self._make(name, inputs, build)
        return final

    def _make(self, name: str, inputs: Mapping[str, str], build: Callable[[Path], None]) -> None:
        for leftover in self._root.glob(f".{name}.*"):  # of a run that died; we hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=self._root))
        try:
            temporary.chmod(0o755)
            build(temporary)
            (temporary / "inputs.json").write_text(json.dumps(dict(inputs), indent=2, sort_keys=True) + "\n")
            temporary.rename(self._root / name)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        locks = self._root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        handle = os.open(locks / name, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._report(f"waiting for another run that is making {name}")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
