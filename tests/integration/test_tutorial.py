"""docs/testing/tutorial.md, followed to the letter in an empty folder: a fresh environment, the package as people
install it, and files that are nobody's but the user's.

The part with a tsnet application, whose build takes minutes the first time, runs with HARNESS_WHOLE_TUTORIAL=1
(`nox -s tutorial`).
"""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from harness.strict import unavailable
from tests.integration.chromium import Chromium
from tests.reading import ROOT, Reader

pytestmark = pytest.mark.timeout(1200)

TUTORIAL = ROOT / "docs" / "testing" / "tutorial.md"
WHOLE = "HARNESS_WHOLE_TUTORIAL"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """After the first section: the package is installed, and the machine was looked at."""
    made = Reader(tmp_path_factory.mktemp("empty"), TUTORIAL)
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
