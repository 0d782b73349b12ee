"""docs/coverage.md names tests that are there, and every test of the suite that it speaks of once."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "coverage.md").read_text()
SECTION = re.compile(r"^## .+ — (?P<file>\w+_test\.go) \((?P<count>\d+)\)$", re.MULTILINE)
ROW = re.compile(r"^\| (?P<there>Test\w+) \|(?P<here>[^|]*)\|", re.MULTILINE)
HERE = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def sections() -> dict[str, tuple[int, str]]:
    """By the file there: how many tests it has, and what is written about them."""
    found = list(SECTION.finditer(TEXT))
    ends = [section.start() for section in found[1:]] + [len(TEXT)]
    return {
        section["file"]: (int(section["count"]), TEXT[section.end() : end])
        for section, end in zip(found, ends, strict=True)
    }


@cache
def names_in(path: str) -> frozenset[str]:
    """The names of the tests of a file; none when there is no such file."""
    file = ROOT / path
    tree = ast.parse(file.read_text()) if file.is_file() else ast.Module([], [])
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


@pytest.mark.parametrize("file", sections())
def test_a_section_has_all_tests_of_its_file_once(file: str) -> None:
    count, text = sections()[file]
    assert len(ROW.findall(text)) == count


def test_no_test_has_two_rows() -> None:
    assert [
        name for name, times in Counter(row["there"] for row in ROW.finditer(TEXT)).items() if times > 1
    ] == []


@pytest.mark.parametrize("row", list(ROW.finditer(TEXT)), ids=lambda row: row["there"])
def test_a_row_names_tests_that_are_there(row: re.Match[str]) -> None:
    named = HERE.findall(row["here"])
    assert named, "it names no test"
    assert "".join(HERE.sub("", row["here"]).split()) == "", "only tests belong there"
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_what_is_named_beside_rows_is_there_too() -> None:
    assert [f"{path}::{name}" for path, name in HERE.findall(TEXT) if name not in names_in(path)] == []
