"""What the plugin writes of a run: its results, JUnit's properties, the matrix. Tailnets are stood in for."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from harness.reporting import REACH

@pytest.fixture
def make_tailnet(request):
    request.node.stash[REACH] = {"nodes": {"a": "1"}, "edges": []}
    yield None
    if "breaks" in request.node.name:
        raise RuntimeError("the server did not end")
"""
TESTS = """
import pytest
from harness.errors import Unsupported

def test_passes(make_tailnet): pass
def test_fails(make_tailnet): assert False, "not so with --auth-key=verysecret"
def test_skips(make_tailnet): pytest.skip("no Docker engine")
def test_cannot(make_tailnet): raise Unsupported("the server has no OAuth")
def test_breaks_at_its_end(make_tailnet): pass
def test_is_none_of_ours(): pass
"""


def lines(folder: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "artifacts" / "results.jsonl").read_text().splitlines()]
    return {line["scenario"].partition("::test_")[2]: line for line in found}


@pytest.fixture
def ran(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with one test of each kind."""
    monkeypatch.delenv("HARNESS_STRICT", raising=False)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_them=TESTS)
    words = ["--client-versions=1.80", "--backend=process", "--server=process", "--junitxml=j.xml"]
    pytester.runpytest_inprocess(*words, "-p", "no:cacheprovider")
    return pytester.path


def test_each_scenario_has_one_line(ran: Path) -> None:
    """With its outcome, its reason and what it ran on; other tests have none, and secrets stay away."""
    told = {name: (line["outcome"], line.get("reason", "")) for name, line in lines(ran).items()}
    assert told == {
        "passes": ("passed", ""),
        "fails": ("failed", "AssertionError: not so with --auth-key=…\nassert False"),
        "skips": ("skipped", "no Docker engine"),
        "cannot": ("unsupported", "the server has no OAuth"),
        "breaks_at_its_end": ("error", "RuntimeError: the server did not end"),
    }
    setup = {"versions": "1.80", "server": "process", "database": "sqlite", "backend": "process"}
    assert all(setup.items() <= line.items() for line in lines(ran).values())
    assert all(line["reach"]["nodes"] == {"a": "1"} and line["seconds"] >= 0 for line in lines(ran).values())
    assert len({line["run"] for line in lines(ran).values()}) == 1


def test_junit_has_the_same_properties(ran: Path) -> None:
    """Whatever reads JUnit can group by them."""
    cases = {case.get("name"): case for case in ElementTree.parse(ran / "j.xml").iter("testcase")}
    told = {p.get("name"): p.get("value") for p in cases["test_cannot"].iter("property")}
    assert told == {
        "harness.versions": "1.80",
        "harness.server": "process",
        "harness.database": "sqlite",
        "harness.backend": "process",
        "harness.outcome": "unsupported",
        "unsupported": "the server has no OAuth",
    }
    assert list(cases["test_is_none_of_ours"].iter("property")) == []


def test_another_run_adds_to_the_matrix(ran: Path, pytester: pytest.Pytester) -> None:
    """The file grows; the page shows both runs."""
    pytester.makepyfile(test_them=TESTS.replace("assert False", "assert True"))
    pytester.runpytest_inprocess(
        "--client-versions=1.80", "--backend=process", "--server=process", "-p", "no:cacheprovider"
    )
    page = (ran / "artifacts" / "matrix.html").read_text()
    assert "2 runs" in page
    assert "1 of 2 failed (50 %)" in page


def test_a_run_without_scenarios_writes_nothing(pytester: pytest.Pytester) -> None:
    """Most runs of pytest in an environment with the plugin are somebody else's."""
    pytester.makepyfile("def test_x(): pass")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert not (pytester.path / "artifacts").exists()


ASYNC_TEST = "async def test_waits(tailnet): assert tailnet == 'a tailnet'"
ASYNC_CONFTEST = """
import pytest
@pytest.fixture
def make_tailnet(): return "a tailnet"
@pytest.fixture
def tailnet(make_tailnet): return make_tailnet
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_an_async_scenario_needs_no_mark(pytester: pytest.Pytester, mode: str) -> None:
    """A user's folder has no configuration; ours has one."""
    pytester.makeconftest(ASYNC_CONFTEST)
    pytester.makepyfile(ASYNC_TEST)
    pytester.runpytest_inprocess(f"--asyncio-mode={mode}", "-p", "no:cacheprovider").assert_outcomes(passed=1)
