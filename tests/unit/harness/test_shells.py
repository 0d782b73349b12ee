"""A table of SSH sessions refuses what would show nothing."""

from dataclasses import dataclass
from typing import Any, cast

import pytest

from harness import shells
from harness.backends.base import Completed
from harness.clients.tailscaled import TailscaledClient
from harness.errors import HarnessError


@dataclass(frozen=True)
class Named:
    name: str


A, B = (cast(TailscaledClient, Named(name)) for name in ("a", "b"))


@pytest.fixture
def lets_in(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The users as whom every machine lets in."""
    users: set[str] = set()

    async def try_session(source: Any, target: Any, user: str) -> Completed:
        if user in users:
            return Completed((), 0, f"{user} at {target.name}", "", 0.0)
        return Completed((), 255, "", "no", 0.0)

    async def host_of(target: Any) -> str:
        return str(target.name)

    monkeypatch.setattr(shells, "try_session", try_session)
    monkeypatch.setattr(shells, "host_of", host_of)
    return users


async def test_a_table_that_is_so_says_nothing(lets_in: set[str]) -> None:
    lets_in.add("root")
    await shells.assert_sessions({(A, B, "root"): True, (A, B, "other"): False})


async def test_each_wrong_session_is_named(lets_in: set[str]) -> None:
    lets_in.add("other")
    with pytest.raises(AssertionError) as wrong:
        await shells.assert_sessions({(A, B, "root"): True, (A, B, "other"): False, (B, A, "other"): True})
    assert "a to b as root: expected yes" in str(wrong.value)
    assert "a to b as other: expected no" in str(wrong.value)
    assert "b to a" not in str(wrong.value)


async def test_a_no_of_a_machine_that_lets_nobody_in_shows_nothing(lets_in: set[str]) -> None:
    with pytest.raises(HarnessError, match="nobody is to get into"):
        await shells.assert_sessions({(A, B, "root"): False})
