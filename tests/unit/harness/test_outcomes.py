"""What a server, client or backend cannot do is a result of its own."""

import xml.etree.ElementTree as ElementTree

import pytest

pytest_plugins = ("pytester",)

# Of the inner runs, which have no configuration.
OPTIONS = ("-o", "asyncio_default_fixture_loop_scope=function", "-p", "no:cacheprovider")

ASKING = """
import pytest
from harness.errors import {error}

def test_asks():
    raise {error}("the server has no bells")

@pytest.fixture
def bells():
    raise {error}("the server has no bells")

def test_asks_in_its_fixture(bells):
    pass

def test_is_well():
    pass
"""


@pytest.fixture
def asking(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A place for tests that ask for something, without HARNESS_STRICT."""
    monkeypatch.delenv("HARNESS_STRICT", raising=False)
    return pytester


@pytest.mark.parametrize("error", ["Unsupported", "NotOffered"])
def test_it_is_counted_and_named_beside_passes(asking: pytest.Pytester, error: str) -> None:
    """Two tests met the limit, in the call and in a fixture: neither failed, neither is a skip, the run is green."""
    asking.makepyfile(ASKING.format(error=error))
    done = asking.runpytest_inprocess(*OPTIONS, "--junit-xml=report.xml", "-v")
    assert done.ret == 0
    done.stdout.fnmatch_lines(
        ["*test_asks UNSUPPORTED*", "*= unsupported =*", "UNSUPPORTED [[]2] the server has no bells"]
    )
    done.stdout.fnmatch_lines(["*1 passed, 2 unsupported*"])
    assert "skipped" not in done.stdout.str()
    report = ElementTree.parse(asking.path / "report.xml")
    found = [(each.get("name"), each.get("value")) for each in report.iter("property")]
    assert found == [("unsupported", "the server has no bells")] * 2


@pytest.mark.parametrize(("error", "counts"), [("NotOffered", "2 unsupported"), ("Unsupported", "1 failed")])
def test_under_strict_only_a_declared_limit_is_accepted(
    asking: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, error: str, counts: str
) -> None:
    """What a test merely ran into is a gap, and fails the run."""
    monkeypatch.setenv("HARNESS_STRICT", "1")
    asking.makepyfile(ASKING.format(error=error))
    done = asking.runpytest_inprocess(*OPTIONS)
    assert (done.ret == 0) == (error == "NotOffered")
    assert counts in done.stdout.str()
