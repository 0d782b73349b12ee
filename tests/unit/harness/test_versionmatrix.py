"""What `--client-versions` selects."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.versionmatrix import selections
from harness.versions import UnknownVersion, resolve


def test_a_list_is_one_selection() -> None:
    """As it was written."""
    assert selections("oldest,newest") == [resolve("oldest,newest")]


def test_pairwise_is_many_of_four_clients() -> None:
    """Every release is in some of them."""
    chosen = selections("pairwise")
    assert {len(releases) for releases in chosen} <= {2, 3, 4}
    assert {release for releases in chosen for release in releases} == set(resolve("all"))


def test_the_size_of_a_tailnet_can_be_chosen() -> None:
    """Smaller tailnets are more tailnets."""
    assert len(selections("pairwise:3")) > len(selections("pairwise:5"))


@pytest.mark.parametrize("text", ["pairwise:1", "pairwise:many"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    """With what would be right."""
    with pytest.raises(UnknownVersion, match="such as pairwise:3"):
        selections(text)


def test_each_selection_is_a_test_of_its_own(tmp_path: Path) -> None:
    """Named after its releases; a test without clients runs once."""
    (tmp_path / "test_it.py").write_text("def test_a(releases): pass\ndef test_b(): pass\n")
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "--client-versions=pairwise",
        "test_it.py",
    ]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if "::" in line]
    assert len(lines) == len(selections("pairwise")) + 1
    assert any("test_a[" in line and "1.80.3+" in line for line in lines)
