"""What a run says at its end, whichever process found it out."""

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from harness.summary import SUMMARY

@pytest.fixture(scope="session", autouse=True)
def machine(request):
    request.config.stash[SUMMARY].add("harness: backend process, because it was asked for")
"""
TESTS = "def test_finds_out(publish): publish('{name}.txt', 'answered after 3 s')"


@pytest.mark.parametrize("processes", [(), ("-n", "2", "--dist", "loadfile")])
def test_all_processes_are_heard(pytester: pytest.Pytester, processes: tuple[str, ...]) -> None:
    """Findings with the file that they are in, and what is true of all of them once."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_one=TESTS.format(name="one"), test_two=TESTS.format(name="two"))
    said = pytester.runpytest_subprocess(*processes, "-p", "no:cacheprovider").outlines
    assert said.count("harness: backend process, because it was asked for") == 1
    for name in ("one", "two"):
        assert said[said.index(f"artifacts/{name}.txt:") + 1] == "answered after 3 s"
        assert (pytester.path / "artifacts" / f"{name}.txt").read_text() == "answered after 3 s"
