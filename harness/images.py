"""Finds or makes the container image in which a release runs.

In this order: the image that HARNESS_CLIENT_IMAGE names (`{version}` stands for the release), the official
`tailscale/tailscale:vX.Y.Z` when a registry answers, else a base system made here by debootstrap with the
release's binaries from the cache. The binaries are mounted, not copied into a layer: they are static, the
base is then the same for all releases, and nothing is built a second time when one of them changes.
"""

import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from harness.cache import Cache, entry_name
from harness.errors import Missing
from harness.progress import Report, run_long
from harness.provision import Provisioner
from harness.versions import RELEASES, Release

OVERRIDE = "HARNESS_CLIENT_IMAGE"

OFFICIAL = "tailscale/tailscale:v{version}"

BASE_REPOSITORY = "headscale-harness-base"

SUITE = "bookworm"

PACKAGES = ("ca-certificates", "iproute2", "iptables", "nftables", "openssh-client")
"""What tailscaled calls or reads on Linux: routes, packet filter, trusted roots; nft also serves our faults, and ssh is
what users of `tailscale up --ssh` come with."""

LEFT_OUT = tuple(
    f"./{part}/*"
    for part in (
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "var/lib/apt/lists",
        "var/cache/apt",
        "dev",
    )
)
"""What no program on a machine reads; half of the size."""

REGISTRY_PATIENCE = timedelta(seconds=10)
"""How long a registry may take to say whether it has an image; a "no" counts for the whole run."""

MOUNTED = "/usr/local/bin"
"""Where binaries from the cache appear in a container."""


class Engine(Protocol):
    """What making images needs of a container engine; all of it blocks."""

    def has_image(self, reference: str) -> bool:
        """Whether the engine has it already."""

    def offered(self, reference: str, *, patience: timedelta) -> bool:
        """Whether a registry says it has it."""

    def pull(self, reference: str) -> None:
        """Fetch it."""

    def import_rootfs(self, archive: Path, reference: str) -> None:
        """Make an image of one layer from a tar file."""


@dataclass(frozen=True, slots=True)
class ClientImage:
    """An image and what to mount into it so that `programs` (name to path inside) are there."""

    reference: str
    programs: Mapping[str, str]
    mounts: Mapping[Path, str] = field(default_factory=dict)


class ClientImages:
    """The provider chain for one run."""

    def __init__(
        self,
        engine: Engine,
        provisioner: Provisioner,
        cache: Cache,
        *,
        report: Report,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._engine = engine
        self._provisioner = provisioner
        self._cache = cache
        self._report = report
        self._override = environ.get(OVERRIDE)
        self._registry_answers = True
        self._lock = threading.Lock()  # several machines start at once, each from a thread of its own

    def find(self, release: Release) -> ClientImage:
        """The image for a release. Raises Missing or BuildFailed when no provider can make one."""
        with self._lock:
            return self._find(release)

    def _find(self, release: Release) -> ClientImage:
        if release.kind == "go" and not release.tags and (published := self._published(release)) is not None:
            return published
        found = self._provisioner.programs(release)
        programs = {name: f"{MOUNTED}/{name}" for name in found}
        mounts = {path: programs[name] for name, path in found.items()}
        return ClientImage(self._around(release), programs, mounts)

    def _around(self, release: Release) -> str:
        """An image to mount binaries into. The Rust client, which nobody publishes, needs no more than a Go one."""
        if release.kind == "rust" and (published := self._published(RELEASES[-1])) is not None:
            return published.reference
        return self.base()

    def _published(self, release: Release) -> ClientImage | None:
        if self._override:
            return self._named(self._override.format(version=release.version))
        official = OFFICIAL.format(version=release.version)
        if self._engine.has_image(official) or self._pulled(official):
            return ClientImage(official, {"tailscale": "tailscale", "tailscaled": "tailscaled"})
        return None

    def tools(self) -> str:
        """An image with `ip` and `iptables`, for machines without a client."""
        with self._lock:
            published = self._published(RELEASES[-1])
            return published.reference if published is not None else self.base()

    def base(self) -> str:
        """A small Debian in the engine, made and imported at first use."""
        return debian(self._engine, self._cache, BASE_REPOSITORY, PACKAGES, report=self._report)

    def fetch(self, reference: str) -> None:
        """See to it that the engine has this image; raises Missing."""
        if not self._engine.has_image(reference):
            if not self._engine.offered(reference, patience=REGISTRY_PATIENCE):
                raise Missing(f"neither the engine nor a registry has the image {reference}")
            self._engine.pull(reference)

    def _named(self, reference: str) -> ClientImage:
        self.fetch(reference)
        return ClientImage(reference, {"tailscale": "tailscale", "tailscaled": "tailscaled"})

    def _pulled(self, reference: str) -> bool:
        if self._registry_answers and self._engine.offered(reference, patience=REGISTRY_PATIENCE):
            self._report(f"pulling {reference} …")
            self._engine.pull(reference)
            return True
        if self._registry_answers:
            self._report(f"no registry offers {reference}; client images are made here")
            self._registry_answers = False
        return False


def debian(engine: Engine, cache: Cache, repository: str, packages: Sequence[str], *, report: Report) -> str:
    """An image of Debian with these packages, made by debootstrap and imported at first use. Raises Missing."""
    inputs = {"suite": SUITE, "packages": ",".join(packages), "without": ",".join(LEFT_OUT)}
    reference = f"{repository}:{entry_name('base', inputs).rpartition('-')[2]}"
    if not engine.has_image(reference):
        archive = (
            cache.entry("base", inputs, lambda folder: _debootstrap(folder, packages, report)) / "rootfs.tar"
        )
        engine.import_rootfs(archive, reference)
    return reference


def _debootstrap(folder: Path, packages: Sequence[str], report: Report) -> None:
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise Missing(
            "no registry answers and a base image cannot be made here: that needs root and debootstrap "
            f"(apt install debootstrap), or an image of your own in {OVERRIDE}"
        )
    root, log = folder / "root", folder / "build.log"
    include = f"--include={','.join(packages)}"
    argv: list[str | Path] = ["debootstrap", "--variant=minbase", include, SUITE, root]
    run_long(f"making a base system of Debian {SUITE}", argv, log=log, report=report)
    excludes = [f"--exclude={pattern}" for pattern in LEFT_OUT]
    pack: list[str | Path] = ["tar", "-C", root, *excludes, "-cf", folder / "rootfs.tar", "."]
    run_long("packing it", pack, log=log, report=report)
    shutil.rmtree(root)
