"""Which client releases are under test, and what people may call them.

One release stands for each minor: the newest patch that we build. Capability versions and patch numbers are
those of the release tags (tailcfg.CurrentCapabilityVersion at each tag); `go` is the minimum that the
release's go.mod states. The oldest is the floor that the server promises to serve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from harness.errors import HarnessError

Kind = Literal["go", "rust"]


@dataclass(frozen=True, slots=True)
class Release:
    """One client under test. `go` is the toolchain it needs, None for the Rust client.

    `tags` are Go build tags of a client that is built for one scenario; released binaries have none.
    """

    kind: Kind
    version: str
    capability: int
    go: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def minor(self) -> str:
        """The release series, such as 1.80."""
        return self.version.rpartition(".")[0]

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """The version to compare with others."""
        return tuple(map(int, self.version.split(".")))

    def __str__(self) -> str:
        return self.version if self.kind == "go" else f"rust-{self.version}"


RELEASES: tuple[Release, ...] = (
    Release("go", "1.80.3", 113, go="1.23.1"),
    Release("go", "1.82.5", 115, go="1.24.0"),
    Release("go", "1.84.3", 116, go="1.24.0"),
    Release("go", "1.86.5", 123, go="1.24.4"),
    Release("go", "1.88.4", 125, go="1.25.1"),
    Release("go", "1.90.9", 130, go="1.25.3"),
    Release("go", "1.92.5", 131, go="1.25.5"),
    Release("go", "1.94.2", 131, go="1.25.5"),
    Release("go", "1.96.5", 133, go="1.26.1"),
    Release("go", "1.98.9", 138, go="1.26.5"),
    Release("go", "1.100.0", 141, go="1.26.4"),
    Release("go", "1.102.4", 142, go="1.26.6"),
)
"""The official Go client, oldest first."""

RUST = Release("rust", "0.6.1", 130)
"""tailscale-rs from crates.io; every release from 0.2 on announces capability version 130."""

MIDDLE = "1.92.5"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A minor that is out and not among the releases yet: why, and until when that is a reason."""

    minor: str
    why: str
    until: date


WAITING: tuple[Waiting, ...] = (
    Waiting(
        "1.104",
        "the module proxy does not hand out the gvisor that all patches up to 1.104.6 name; 1.104.7 needs Go 1.27.4",
        date(2026, 12, 31),
    ),
)
"""`nox -s releases` fails for any other minor that is out, and for these afterwards."""


class UnknownVersion(HarnessError):
    """A name that is neither a release, a minor nor a subset."""


def subsets() -> dict[str, tuple[Release, ...]]:
    """The names for more than one, or for a place in the order."""
    return {
        "oldest": (RELEASES[0],),
        "middle": (_release(MIDDLE),),
        "newest": (RELEASES[-1],),
        "all": (*RELEASES, RUST),
        "rust": (RUST,),
    }


def resolve(text: str) -> tuple[Release, ...]:
    """Read a comma-separated list such as `oldest,newest`, `1.80,1.92.5` or `all`.

    The order is as written, each release once. Raises UnknownVersion naming what is known.
    """
    found: dict[Release, None] = {}
    for name in (part.strip() for part in text.split(",")):
        if name:
            found |= dict.fromkeys(_named(name))
    if not found:
        raise UnknownVersion(f"no client version in {text!r}; {_known()}")
    return tuple(found)


def _named(name: str) -> Sequence[Release]:
    named = subsets().get(name)
    if named is not None:
        return named
    for release in RELEASES:
        if name.removeprefix("v") in (release.version, release.minor):
            return (release,)
    raise UnknownVersion(f"client version {name!r} is not known; {_known()}")


def _release(version: str) -> Release:
    return next(r for r in RELEASES if r.version == version)


def _known() -> str:
    versions = ", ".join(r.version for r in RELEASES)
    return f"known are {versions} (or their minors, such as {RELEASES[0].minor}) and {', '.join(subsets())}"
