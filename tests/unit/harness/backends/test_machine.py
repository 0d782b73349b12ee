"""Machines without an agent, and what they say."""

from pathlib import Path

import pytest

from harness.backends.base import Capability, Completed
from harness.backends.machine import SOCKET_PATH_LIMIT, Layout, Machine, check_socket_path
from harness.errors import AgentFailed, HarnessError, Unsupported


class NoLauncher:
    """A machine that is never started."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def kill(self) -> None: ...


def machine(*capabilities: Capability) -> Machine:
    layout = Layout(
        "m", Path("/host/m"), "/harness", {"tailscale": "/bin/ts"}, "10.0.0.1", frozenset(capabilities)
    )
    return Machine(layout, NoLauncher())


def test_a_socket_path_of_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    """The kernel's 'invalid argument' in words; bytes count, not characters."""
    check_socket_path(Path("/" + "x" * (SOCKET_PATH_LIMIT - 1)))
    with pytest.raises(HarnessError, match="108 bytes"):
        check_socket_path(Path("/" + "x" * SOCKET_PATH_LIMIT))
    with pytest.raises(HarnessError):
        check_socket_path(Path("/" + "ü" * (SOCKET_PATH_LIMIT // 2 + 1)))


def test_paths_are_those_of_the_machine() -> None:
    """Programs on the machine do not see the host's folders."""
    assert machine().path("state", "x") == "/harness/state/x"
    assert machine().program("tailscale") == "/bin/ts"


def test_a_lacking_capability_is_named() -> None:
    """The error says which machine and which capability."""
    machine(Capability.TUN).require(Capability.TUN)
    with pytest.raises(Unsupported, match="m cannot do this: its backend lacks block-udp"):
        machine(Capability.TUN).require(Capability.BLOCK_UDP)


async def test_a_machine_that_is_not_started_says_so() -> None:
    """Instead of hanging on a socket that nobody makes."""
    with pytest.raises(AgentFailed, match="m is not started"):
        await machine().agent("hello")


async def test_the_end_of_a_program_that_never_ran_is_not_waited_for() -> None:
    """That wait would never end."""
    with pytest.raises(HarnessError, match="never started"):
        await machine().ended("tailscaled")


def test_output_is_what_the_terminal_showed() -> None:
    """Both streams, without blank lines around them."""
    assert Completed(("x",), 1, "out\n", "\nerr\n", 0.1).output == "out\nerr"
    assert Completed(("x",), 1, "", "err\n", 0.1).output == "err"


async def test_settings_are_made_at_each_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that comes back has its routes, in the order in which they were told."""

    async def connected(*_: object, within: float) -> None:
        return None

    monkeypatch.setattr("harness.backends.machine.connect", connected)
    layout = Layout("m", tmp_path, "/harness", {}, "10.0.0.1", frozenset())
    made, done = Machine(layout, NoLauncher()), []

    async def first() -> None:
        done.append(1)

    async def second() -> None:
        done.append(2)

    made.at_each_start(first)
    made.at_each_start(second)
    await made.start()
    await made.start()
    assert done == [1, 2, 1, 2]
