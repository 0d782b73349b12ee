"""Choosing a backend."""

from pathlib import Path

import pytest

from harness.backends.choose import choose
from harness.errors import HarnessError, Missing
from harness.progress import silent

NOWHERE = "unix:///nonexistent/docker.sock"


def test_process_is_always_there(tmp_path: Path) -> None:
    """It needs nothing at this point."""
    backend = choose("process", report=silent, environ={"HARNESS_CACHE": str(tmp_path)})
    assert (backend.name, backend.why) == ("process", "it was asked for")


def test_without_an_engine_it_is_process_and_the_reason_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The head of a report tells why containers were not used."""
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    backend = choose(report=silent, environ={"HARNESS_CACHE": str(tmp_path)})
    assert backend.name == "process"
    assert "no Docker engine answers" in backend.why


def test_containers_that_were_asked_for_are_not_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`--backend=container` without an engine is an error, not a silent change."""
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    with pytest.raises(Missing, match="no Docker engine answers"):
        choose("container", report=silent, environ={"HARNESS_CACHE": str(tmp_path)})


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    """A typing error is not taken for a choice."""
    with pytest.raises(HarnessError, match="known are container, netns, process"):
        choose("podman", report=silent)
