"""What the environment says of a supervisor."""

import pytest

from headscale.errors import Malformed
from headscale.supervisor import Supervisor, forget, supervisor


def test_without_one_nothing_is_said() -> None:
    by = supervisor({}, pid=7)
    assert by == Supervisor()
    by.say("READY=1")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 0.0),
        ({}, 0.0),
    ],
)
def test_a_watchdog_is_for_one_process(environment: dict[str, str], seconds: float) -> None:
    assert supervisor(environment, pid=7).watchdog_s == seconds


def test_sockets_of_another_process_are_left_alone() -> None:
    assert supervisor({"LISTEN_FDS": "1", "LISTEN_PID": "8"}, pid=7).sockets == {}


def test_nonsense_is_named() -> None:
    with pytest.raises(Malformed, match="WATCHDOG_USEC is 'soon'"):
        supervisor({"WATCHDOG_USEC": "soon"}, pid=7)


def test_what_is_for_us_is_not_passed_on() -> None:
    environment = {"NOTIFY_SOCKET": "/run/x", "LISTEN_FDS": "1", "PATH": "/bin"}
    forget(environment)
    assert environment == {"PATH": "/bin"}


def test_a_supervisor_that_is_gone_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    Supervisor("/nowhere/notify").say("READY=1")
    assert "was not told" in caplog.text
