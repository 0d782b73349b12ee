"""What a run has made at somebody else's server, kept on disk until it is gone again, so that the run after one that
crashed finds it."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.cache import cache_root

Kind = Literal["device", "key", "policy"]


@dataclass
class Left:
    """What is still there, by kind: ids, and the policy as it was before, None when it was never touched."""

    devices: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    policy: str | None = None


class Journal:
    """One server's. Written line by line before anything is made known to others; gone when nothing is left."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def made(self, kind: Kind, what: str) -> None:
        """There is one more device or key with this id; or the policy was this text before."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, (json.dumps({"kind": kind, "what": what}) + "\n").encode())
            os.fsync(handle)
        finally:
            os.close(handle)

    def read(self) -> Left:
        """What is left. A last line that a crash cut off is passed over: nothing came of it."""
        left = Left()
        if not self._path.exists():
            return left
        for line in self._path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry["kind"] == "policy":
                left.policy = entry["what"] if left.policy is None else left.policy
            else:
                (left.devices if entry["kind"] == "device" else left.keys).add(entry["what"])
        return left

    def clear(self) -> None:
        """Nothing is left."""
        self._path.unlink(missing_ok=True)


def journal_of(url: str, environ: Mapping[str, str] = os.environ) -> Journal:
    """The journal for the server at this URL, beside the harness's other files (HARNESS_CACHE)."""
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    return Journal(cache_root(environ) / "left-at" / f"{name}.jsonl")
