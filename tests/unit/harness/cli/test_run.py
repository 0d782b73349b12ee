"""`harness run`: pytest with a line for each scenario. Tailnets are stood in for."""

import pytest

pytest_plugins = ["pytester"]

CONFTEST = "import pytest\n@pytest.fixture\ndef make_tailnet(): pass\n"
TESTS = """
import pytest
from harness.errors import Unsupported

def test_passes(make_tailnet): pass
def test_fails(make_tailnet): assert False
def test_cannot(make_tailnet): raise Unsupported("no OAuth")
"""
WORDS = (
    "-m",
    "harness.cli.main",
    "run",
    "--backend=process",
    "--client-versions=1.80",
    "-p",
    "no:cacheprovider",
)


def test_each_scenario_has_a_line_and_the_rest_is_estimated(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time it is known how long it takes; pytest's exit code is the command's."""
    import sys

    monkeypatch.delenv("HARNESS_STRICT", raising=False)
    pytester.makeconftest(CONFTEST)
    pytester.mkdir("scenarios").joinpath("test_them.py").write_text(TESTS)
    pytester.makepyfile(test_other="def test_other(): raise SystemExit('not a scenario')")
    first = pytester.run(sys.executable, *WORDS)
    assert first.ret == 1
    first.stdout.fnmatch_lines(
        [
            "harness: 3 scenarios × clients 1.80: how long is not known yet",
            "[[]1/3[]] passed * scenarios/test_them.py::test_passes, about * left",
            "[[]2/3[]] failed * scenarios/test_them.py::test_fails, about * left",
            "[[]3/3[]] unsupported * scenarios/test_them.py::test_cannot",
            "harness: 3 results in artifacts/results.jsonl",
            "harness: scenarios × versions in artifacts/matrix.html",
        ]
    )
    first.stdout.no_fnmatch_line("*test_other*")
    second = pytester.run(sys.executable, *WORDS, "-k", "passes")
    assert second.ret == 0
    second.stdout.fnmatch_lines(["harness: 1 scenarios × clients 1.80: about 0 s"])


def test_help_is_the_commands_own(pytester: pytest.Pytester) -> None:
    """Pytest's help is pages long."""
    import sys

    shown = pytester.run(sys.executable, "-m", "harness.cli.main", "run", "--help")
    shown.stdout.fnmatch_lines(["*PYTEST ARGUMENTS*"])
