"""The `harness` command's words: what is asked of the machine is stood in for."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cleaning import Leftover, Survey
from harness.cli import clean as clean_module
from harness.cli import doctor as doctor_module
from harness.cli.main import main
from harness.cli.run import span
from harness.doctor import DISK_BYTES, Finding, backends, examine

NAMES = ("Docker", "root", "tun", "namespaces", "Go", "cargo", "Chromium", "disk")


def findings(*lacking: str) -> list[Finding]:
    return [Finding(name, name not in lacking, "found", "for it", f"install {name}") for name in NAMES]


def test_doctor_shows_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only beside what is missing; one backend alone is a failure."""
    monkeypatch.setattr(doctor_module, "examine", lambda: findings("Docker", "namespaces"))
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 1
    assert "install Docker" in done.output
    assert "install Go" not in done.output
    assert "Backends that work here: process\n" in done.output


def test_doctor_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a script, with the same exit code."""
    monkeypatch.setattr(doctor_module, "examine", lambda: findings("cargo"))
    done = CliRunner().invoke(main, ["doctor", "--json"])
    told = json.loads(done.output)
    assert (done.exit_code, told["backends"]) == (0, ["container", "netns", "process"])
    assert {each["name"] for each in told["findings"] if not each["ok"]} == {"cargo"}
    assert set(told["findings"][0]) == {"name", "ok", "found", "for", "todo"}


@pytest.mark.parametrize(
    ("lacking", "able"),
    [
        ((), ["container", "netns", "process"]),
        (("tun",), ["netns", "process"]),
        (("namespaces",), ["container", "process"]),
    ],
)
def test_which_backends_work(lacking: Sequence[str], able: list[str]) -> None:
    """Containers need an engine and the device; namespaces say for themselves."""
    assert backends(findings(*lacking)) == able


def test_a_machine_without_anything_is_examined_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each thing that is missing says so; a Go is fetched, so its want is none."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("harness.doctor.TUN", tmp_path / "tun")
    monkeypatch.setattr("harness.doctor.DISK_BYTES", DISK_BYTES * 10**9)
    found = {
        each.name: each
        for each in examine({"PATH": str(tmp_path), "HARNESS_CACHE": str(tmp_path / "a" / "b")})
    }
    assert {name for name, each in found.items() if each.ok} - {"root"} == {"Go"}
    assert "are wanted" in found["disk"].found
    assert "rustup.rs" in found["cargo"].todo


def survey_of(*problems: str | None) -> Survey:
    def remove(problem: str | None) -> None:
        if problem:
            raise OSError(problem)

    made = [
        Leftover("folder", f"/tmp/f{n}", "hsh-1-2", lambda p=p: remove(p)) for n, p in enumerate(problems)
    ]  # type: ignore[misc]
    return Survey(tuple(made), ("network x: its run is on another",))


def test_clean_tells_each_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be removed is on standard error, and the exit code says so; the rest goes on."""
    monkeypatch.setattr(clean_module, "survey", lambda: survey_of("busy", None))
    done = CliRunner().invoke(main, ["clean"])
    assert done.exit_code == 1
    assert done.stdout == "removed folder /tmp/f1\n"
    assert (
        done.stderr == "could not remove folder /tmp/f0: busy\nleft alone: network x: its run is on another\n"
    )


def test_a_dry_run_removes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it fail by what could not be removed."""
    monkeypatch.setattr(clean_module, "survey", lambda: survey_of("busy"))
    done = CliRunner().invoke(main, ["clean", "--dry-run", "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["removed"], told["leftovers"][0]["problem"]) == (0, False, None)


def test_nothing_left_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence would leave one wondering."""
    monkeypatch.setattr(clean_module, "survey", lambda: Survey((), ()))
    assert CliRunner().invoke(main, ["clean"]).output == "Nothing is left of runs that have ended.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["up", "--client-versions=9.9"], "client version '9.9' is not known"),
        (["up", "--hold=-1"], "-1 is not in the range"),
        (["up", "--backend=vm"], "'vm' is not one of"),
    ],
)
def test_a_wrong_word_is_told_without_a_traceback(words: list[str], said: str) -> None:
    """On standard error, with an exit code."""
    done = CliRunner().invoke(main, words)
    assert done.exit_code in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.output


def test_how_long_as_people_say_it() -> None:
    """Seconds, minutes, hours."""
    assert [span(each) for each in (3.2, 89, 150, 7000)] == ["3 s", "89 s", "2 min", "1.9 h"]
