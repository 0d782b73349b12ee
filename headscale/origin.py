"""From which commit this program was made, where that can be known without asking anybody."""

import json
import platform
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from headscale import __version__

UNKNOWN: Final = "unknown"
# What Go calls a machine.
_IN_GO: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REF: Final = re.compile(r"ref: (refs/[A-Za-z0-9_-][A-Za-z0-9_./-]*)")


@dataclass(frozen=True, slots=True)
class Origin:
    """A commit, or that it is unknown; `dirty` where the files may be others than the commit's."""

    commit: str
    dirty: bool


@cache
def version_document() -> dict[str, Any]:
    """For `/version` and `headscale version`: the Go headscale's fields, without an answer too, and ours."""
    made = origin_of(_written_by_installer(), Path(__file__).parents[1])
    system = platform.system().lower()
    return {
        "version": __version__,
        "commit": made.commit,
        "buildTime": UNKNOWN,
        "go": {"version": "", "os": system, "arch": _IN_GO.get(platform.machine(), platform.machine())},
        "dirty": made.dirty,
        "python": platform.python_version(),
    }


def origin_of(written: str | None, root: Path) -> Origin:
    """By what an installer wrote down (PEP 610, direct_url.json), else by the checkout in this folder."""
    try:
        told = json.loads(written or "{}")
    except ValueError:
        told = None
    source = told.get("vcs_info") if isinstance(told, dict) else None
    commit = source.get("commit_id") if isinstance(source, dict) else None
    if isinstance(commit, str) and _COMMIT.fullmatch(commit):
        return Origin(commit, dirty=False)
    if commit := commit_of(root):
        return Origin(commit, dirty=True)  # whether something was changed since, only git could say
    return Origin(UNKNOWN, dirty=False)


def commit_of(root: Path) -> str:
    """What is checked out in this folder of ours; empty where that is not to be seen."""
    if not (root / "pyproject.toml").is_file():
        return ""
    try:
        git = root / ".git"
        if git.is_file():  # a worktree
            git = root / git.read_text("utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text("utf-8").strip()
        ref = _REF.fullmatch(head)
        return _read(git, ref[1]) if ref is not None and ".." not in head else _commit(head)
    except (OSError, ValueError):
        return ""


def _read(git: Path, ref: str) -> str:
    shared = git / "commondir"
    base = git / shared.read_text("utf-8").strip() if shared.is_file() else git
    if (loose := base / ref).is_file():
        return _commit(loose.read_text("utf-8").strip())
    packed = base / "packed-refs"
    lines = packed.read_text("utf-8").splitlines() if packed.is_file() else []
    return next((_commit(line.partition(" ")[0]) for line in lines if line.endswith(f" {ref}")), "")


def _commit(text: str) -> str:
    return text if _COMMIT.fullmatch(text) else ""


def _written_by_installer() -> str | None:
    try:
        return metadata.distribution("headscale").read_text("direct_url.json")
    except (metadata.PackageNotFoundError, OSError, ValueError):
        return None
