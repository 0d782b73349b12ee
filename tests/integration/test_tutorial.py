"""docs/testing/tutorial.md, followed to the letter in an empty folder: a fresh environment, the package as people
install it, and files that are nobody's but the user's.

The part with a tsnet application, whose build takes minutes the first time, runs with HARNESS_WHOLE_TUTORIAL=1
(`nox -s tutorial`).
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.strict import unavailable
from tests.integration.chromium import Chromium

pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "testing" / "tutorial.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`([\w/]+\.(?:py|go))`[^`]*$")
WHOLE = "HARNESS_WHOLE_TUTORIAL"


@dataclass(frozen=True)
class Step:
    """A block of the text: commands, or a file with its name."""

    commands: str
    file: str


def steps(heading: str) -> list[Step]:
    """Those of a section."""
    (section,) = [part for part in TUTORIAL.read_text().split("\n## ") if part.startswith(heading)]
    found = []
    for block in FENCE.finditer(section):
        if block[1] == "sh":
            found.append(Step(block[2], ""))
        else:
            named = NAMED.search(section[: block.start()].rstrip())
            assert named is not None, f"the block after {section[: block.start()][-80:]!r} names no file"
            found.append(Step(block[2], named[1]))
    return found


class Reader:
    """Somebody who does what the text says, in a folder of theirs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def follow(self, heading: str) -> "subprocess.CompletedProcess[str]":
        """All steps of a section; returns the last command's end. Those before must succeed."""
        done = None
        for step in steps(heading):
            if step.file:
                (self.folder / step.file).parent.mkdir(exist_ok=True)
                (self.folder / step.file).write_text(step.commands)
                continue
            assert done is None or done.returncode == 0, done
            done = self.type(step.commands)
        assert done is not None
        return done

    def type(self, commands: str) -> "subprocess.CompletedProcess[str]":
        """Into a shell in which the environment is active once it is there."""
        text = commands.replace("/path/to/headscale", str(ROOT))
        if uv := shutil.which("uv"):
            text = text.replace("pip install", f"{shlex.quote(uv)} pip install -q")
        activated = "[ ! -e .venv ] || . .venv/bin/activate\n"
        # nox points uv at its own environment (UV_PYTHON, UV_PROJECT_ENVIRONMENT), where whatever this one misses is.
        ours = ("PYTEST_", "PYTHON", "VIRTUAL_ENV", "HARNESS_STRICT", "HARNESS_RUN", "NOX_", "UV_P")
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        env["PATH"] = os.pathsep.join(
            part for part in env["PATH"].split(os.pathsep) if not Path(part).is_relative_to(sys.prefix)
        )
        argv = ["bash", "-e", "-c", activated + text]
        return subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """After the first section: the package is installed, and the machine was looked at."""
    made = Reader(tmp_path_factory.mktemp("empty"))
    done = made.follow("1. An empty folder")
    assert "Backends that work here:" in done.stdout, done.stderr
    return made


def test_the_package_brings_all_that_it_needs(reader: Reader) -> None:
    """It lies in the environment and not in the checkout, with what builds clients and pages."""
    done = reader.type("python -c 'import harness; print(harness.__path__[0])'")
    assert done.returncode == 0, done.stderr
    shown = done.stdout.strip()
    assert shown.startswith(str(reader.folder))
    for part in (
        "agent/*.go",
        "agent/go.mod",
        "clients/rust/program/Cargo.lock",
        "clients/rust/program/src/*.rs",
    ):
        ours = sorted(path.name for path in (ROOT / "harness").glob(part))
        assert ours
        assert sorted(path.name for path in Path(shown).glob(part)) == ours


def test_a_users_own_test_runs(reader: Reader) -> None:
    """Without a configuration of pytest: the plugin comes with the package."""
    done = reader.follow("2. A tailnet")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[1/1] passed" in done.stdout
    lines = (reader.folder / "artifacts" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["outcome"] for line in lines] == ["passed"]


def test_a_failure_leaves_its_page_where_the_text_says(reader: Reader) -> None:
    """And it shows the way that is not as expected."""
    done = reader.follow("4. When it fails")
    assert done.returncode == 1, done.stdout + done.stderr
    (page,) = re.findall(r"`(artifacts/\S+report\.html)`", TUTORIAL.read_text())
    assert page in done.stdout
    assert "YES, not no" in (reader.folder / page).read_text()


def test_the_page_of_a_real_failure_opens(reader: Reader) -> None:
    """As the one that a browser's own test makes up: no complaint, one way that is wrong."""
    pages = sorted(reader.folder.glob("artifacts/*/report.html"))
    if not pages:
        pytest.skip("the test before this one has left no page")
    browser = Chromium(scripts=True)
    try:
        browser.open(pages[0].as_uri())
        assert browser.complaints() == []
        assert len(browser.driver.find_elements("css selector", "td.wrong")) == 1
        assert len(browser.driver.find_elements("css selector", "svg.tailnet .machine")) == 3
        browser.shoot("harness-real-failure")
    finally:
        browser.driver.quit()


def test_an_application_of_ones_own(reader: Reader) -> None:
    """A tsnet program, built as the text says, answers a real client."""
    if not os.environ.get(WHOLE):
        pytest.skip(f"a tsnet program takes minutes to build: nox -s tutorial, or {WHOLE}=1")
    if shutil.which("go") is None:
        unavailable("there is no go on PATH, which the application is built with")
    done = reader.follow("3. Your application")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[1/1] passed" in done.stdout
