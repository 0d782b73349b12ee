"""The fuzz targets with everything in the corpus: seeds from real bytes, and every input that once broke something."""

from pathlib import Path

import pytest

from tests.fuzz.drive import CORPUS
from tests.fuzz.targets import TARGETS

INPUTS = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


def test_every_target_has_a_corpus() -> None:
    """And every corpus a target."""
    assert {path.parent.name for path in INPUTS} == set(TARGETS)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_input_breaks_nothing(path: Path) -> None:
    """Whole, cut at a few places, and with each of a few bytes flipped."""
    data = path.read_bytes()
    target = TARGETS[path.parent.name]
    target(data)
    for cut in range(0, len(data), max(1, len(data) // 8)):
        target(data[:cut])
        target(data[:cut] + bytes([data[cut] ^ 0x55]) + data[cut + 1 :])
