"""What `tailscale ping` says of a path, and the grid that people read."""

from dataclasses import dataclass

import pytest

from harness.clients.base import CliResult
from harness.errors import HarnessError
from harness.lab.nat import Path
from harness.lab.paths import PATIENT_PINGS, PINGS, Seen, grid, path_between

DIRECT, RELAYED = Path(True, "why direct"), Path(False, "why relayed")


@dataclass
class Pinger:
    """A client whose ping says what it is told to."""

    says: str
    name: str = "a"
    asked: tuple[str, ...] = ()

    async def cli(self, *args: str, budget: object) -> CliResult:
        self.asked = args
        return CliResult("tailscale ping", 0, self.says)

    def address(self, version: int) -> str:
        return "100.64.0.2"


async def seen_by(pinger: Pinger, wanted: Path) -> Seen:
    return await path_between(pinger, Pinger(""), wanted=wanted)  # type: ignore[arg-type]


async def test_the_last_pong_counts() -> None:
    """A path begins at the relay and becomes direct."""
    says = (
        "pong from b (100.64.0.2) via DERP(headscale) in 3ms\n"
        "pong from b (100.64.0.2) via [fd00::2]:41641 in 1ms"
    )
    assert await seen_by(Pinger(says), DIRECT) == Seen("[fd00::2]:41641")
    assert not (await seen_by(Pinger(says.splitlines()[0]), RELAYED)).direct


async def test_where_the_relay_is_wanted_it_gives_up_early() -> None:
    """The tries cost a second each."""
    pong = "pong from b (100.64.0.2) via DERP(headscale) in 3ms"
    for wanted, count in ((DIRECT, PATIENT_PINGS), (RELAYED, PINGS)):
        pinger = Pinger(pong)
        await seen_by(pinger, wanted)
        assert f"--c={count}" in pinger.asked


async def test_silence_is_no_path() -> None:
    """It must not pass for a relayed one."""
    with pytest.raises(HarnessError, match="got no pong from"):
        await seen_by(Pinger("no reply"), RELAYED)


def test_the_grid_is_whole_and_shouts_what_is_not_as_predicted() -> None:
    """Half of the pairs are measured, all are shown; each with its reason and what was seen."""
    expected = {("x", "x"): DIRECT, ("x", "y"): RELAYED, ("y", "y"): RELAYED}
    seen = {("x", "x"): Seen("1:1"), ("x", "y"): Seen("DERP(r)"), ("y", "y"): Seen("2:2")}
    lines = grid(["x", "y"], expected, seen).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["x", "y"],
        ["x", "direct", "relayed"],
        ["y", "relayed", "DIRECT"],
    ]
    assert lines[3:] == [
        "x and x: direct (why direct); seen: 1:1",
        "x and y: relayed (why relayed); seen: DERP(r)",
        "y and y: relayed (why relayed); seen: 2:2",
    ]
