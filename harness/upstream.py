"""Which client releases there are that we do not list: `python -m harness.upstream`, which a nightly run fails by.

Go clients are asked of the Go module proxy (`go list`), the Rust one of its registry (`cargo info`). A stable release
has an even minor. A newer patch of a minor that is listed is told, and no failure; a minor may wait with a reason, and
for so long only.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from harness.errors import Missing
from harness.versions import RELEASES, RUST, WAITING, Release, Waiting

MODULE = "tailscale.com"
CRATE = "tailscale"
SECONDS = 120.0
STABLE = re.compile(r"v(\d+)\.(\d+)\.(\d+)")

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Findings:
    """What is amiss, in sentences, and what is only worth knowing."""

    missing: tuple[str, ...]
    notes: tuple[str, ...]


def findings(
    go: Iterable[str],
    rust: str,
    *,
    today: date,
    releases: Sequence[Release] = RELEASES,
    waiting: Sequence[Waiting] = WAITING,
    listed_rust: str = RUST.version,
) -> Findings:
    """Compare what there is with what is listed. `go` are the proxy's versions, `rust` the newest crate's."""
    newest: dict[tuple[int, int], Version] = {}
    for version in map(_stable, go):
        if version is not None:
            newest[version[:2]] = max(version, newest.get(version[:2], version))
    listed = {_version(release.version)[:2]: _version(release.version) for release in releases}
    waits = {tuple(map(int, each.minor.split("."))): each for each in waiting}
    missing, notes = [], []
    for minor, version in sorted(newest.items()):
        text = ".".join(map(str, version))
        if minor < min(listed):
            continue
        if minor in listed:
            if version > listed[minor]:
                notes.append(f"{text} is a newer patch than the one that is built")
        elif minor in waits and today <= waits[minor].until:
            notes.append(f"{text} waits until {waits[minor].until}: {waits[minor].why}")
        else:
            late = f"; it waited until {waits[minor].until}" if minor in waits else ""
            missing.append(f"the client {text} is not listed{late}")
    if _version(rust) > _version(listed_rust):
        missing.append(f"the Rust client {rust} is not listed, only {listed_rust}")
    return Findings(tuple(missing), tuple(notes))


def go_versions() -> list[str]:
    """All versions that the module proxy knows. Raises Missing when it cannot be asked."""
    return _asked(["go", "list", "-m", "-versions", MODULE]).split()[1:]


def rust_version() -> str:
    """The newest version of the crate. Raises Missing when it cannot be asked."""
    found = re.search(r"^version: (\d+\.\d+\.\d+)", _asked(["cargo", "info", CRATE]), re.MULTILINE)
    if found is None:
        raise Missing(f"cargo info {CRATE} tells no version")
    return found[1]


def _asked(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{' '.join(argv)}: {error}") from error
    if done.returncode:
        raise Missing(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def _stable(text: str) -> Version | None:
    found = STABLE.fullmatch(text)
    version = _version(text.removeprefix("v")) if found else None
    return version if version is not None and version[1] % 2 == 0 else None


def _version(text: str) -> Version:
    major, minor, patch = map(int, text.split("."))
    return major, minor, patch


def main() -> int:
    """0 when all is listed, 1 when something is missing, 2 when nobody could be asked."""
    try:
        found = findings(go_versions(), rust_version(), today=datetime.now(UTC).date())
    except Missing as problem:
        sys.stderr.write(f"upstream's releases cannot be told: {problem}\n")
        return 2
    for note in found.notes:
        sys.stdout.write(f"{note}\n")
    for sentence in found.missing:
        sys.stderr.write(f"{sentence}\n")
    if found.missing:
        sys.stderr.write(
            "Add what is missing to harness/versions.py, build it and run the scenarios with it.\n"
        )
        return 1
    sys.stdout.write("every stable minor is listed\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
