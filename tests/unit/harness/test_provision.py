"""Turning releases into programs, as far as no compiler is needed."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness import provision
from harness.cache import Cache
from harness.errors import Missing
from harness.progress import silent
from harness.provision import (
    GO_WHEELS,
    RUST_PATTERNS,
    RUST_SOURCE,
    Go,
    Provisioner,
    go_on_path,
    rust_on_path,
    source_digest,
    version_tuple,
)
from harness.versions import RELEASES, RUST


def fake_go(folder: Path, version: str) -> dict[str, str]:
    command = folder / "go"
    command.write_text(f"#!/bin/sh\necho {version}\n")
    command.chmod(0o755)
    return {"PATH": str(folder)}


def test_versions_compare_as_numbers() -> None:
    """1.26.10 is newer than 1.26.9."""
    assert version_tuple("1.26.10") > version_tuple("1.26.9")


def test_go_on_path_is_found_with_its_version(tmp_path: Path) -> None:
    """`go env GOVERSION` says go1.26.8, with or without an experiment behind it."""
    go = go_on_path(fake_go(tmp_path, "go1.26.8 X:nodwarf5"))
    assert go is not None
    assert go.version == "1.26.8"


def test_a_machine_without_go_has_none(tmp_path: Path) -> None:
    """No `go` on PATH is no error yet: a wheel may serve."""
    assert go_on_path({"PATH": str(tmp_path)}) is None


def test_some_wheel_serves_every_release() -> None:
    """A machine without Go can build all that is under test."""
    newest = max(map(version_tuple, GO_WHEELS))
    assert all(version_tuple(r.go) <= newest for r in RELEASES if r.go)


def test_the_digest_changes_with_any_source(tmp_path: Path) -> None:
    """An edited, added or renamed file means another agent."""
    (tmp_path / "go.mod").write_text("module m\n")
    (tmp_path / "a.go").write_text("package a\n")
    first = source_digest(tmp_path)
    (tmp_path / "a.go").rename(tmp_path / "b.go")
    second = source_digest(tmp_path)
    (tmp_path / "b.go").write_text("package b\n")
    assert len({first, second, source_digest(tmp_path)}) == 3


def test_the_rust_client_has_no_tailscale_binaries(tmp_path: Path) -> None:
    """Asking for them is answered in words."""
    with pytest.raises(Missing, match="not a Go client"):
        Provisioner(Cache(tmp_path, report=silent), report=silent).client(RUST)


def fake_rust(folder: Path, version: str) -> dict[str, str]:
    for name in ("cargo", "rustc"):
        (folder / name).write_text(
            f"#!/bin/sh\necho 'release: {version}'\necho 'host: x86_64-unknown-linux-gnu'\n"
        )
        (folder / name).chmod(0o755)
    return {"PATH": str(folder)}


def test_rust_on_path_is_found_with_its_version_and_target(tmp_path: Path) -> None:
    """Both decide what is built, and a nightly is as good as its release."""
    rust = rust_on_path(fake_rust(tmp_path, "1.96.0-nightly"))
    assert (rust.cargo, rust.version) == (tmp_path / "cargo", "1.96.0-nightly")
    assert rust.target == "x86_64-unknown-linux-gnu"


def test_a_machine_without_cargo_hears_what_is_missing(tmp_path: Path) -> None:
    """There is no wheel to fall back on."""
    with pytest.raises(Missing, match=r"needs cargo and rustc 1\.92"):
        Provisioner(Cache(tmp_path, report=silent), report=silent, environ={"PATH": str(tmp_path)}).programs(
            RUST
        )


def test_an_old_rust_is_missing_too(tmp_path: Path) -> None:
    """The crates would fail to build after minutes, in other words."""
    with pytest.raises(Missing, match=r"1\.92 or newer, rustc on PATH is 1\.91\.1"):
        rust_on_path(fake_rust(tmp_path, "1.91.1"))


def test_the_rust_digest_has_the_lock_file_and_every_source() -> None:
    """A new version of a crate is another program."""
    names = {path.name for pattern in RUST_PATTERNS for path in RUST_SOURCE.glob(pattern)}
    assert {"Cargo.toml", "Cargo.lock", "main.rs"} <= names


def test_build_tags_make_another_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the command, and so in the cache."""
    commands: list[list[str]] = []

    def run(what: str, argv: list[object], **rest: object) -> None:
        commands.append(list(map(str, argv)))

    monkeypatch.setattr(provision, "run_long", run)
    monkeypatch.setattr(provision, "go_on_path", lambda environ: Go(Path("go"), "1.99.0"))
    made = Provisioner(Cache(tmp_path, report=silent), report=silent)
    newest = RELEASES[-1]
    tagged = replace(newest, tags=("a", "b"))
    assert made.client(newest) != made.client(tagged)
    assert "-tags" not in commands[0]
    assert commands[1][commands[1].index("-tags") + 1] == "a,b"
    assert made.derper(newest).name == "derper"
    assert commands[2][-1] == f"tailscale.com/cmd/derper@v{newest.version}"
