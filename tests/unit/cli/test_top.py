"""The screen of `headscale top`."""

from io import StringIO
from typing import Any

from rich.console import Console

from headscale.cli.top import screen

OVERVIEW: dict[str, Any] = {
    "version": "1.2.3",
    "at": "2026-06-01T12:00:10+00:00",
    "startedAt": "2026-06-01T12:00:00+00:00",
    "nodes": {"total": 3, "online": 2, "expired": 1, "waiting": 0},
    "streams": 2,
    "controlSessions": 2,
    "relayClients": 1,
    "policyProblem": "",
    "queues": {"writer": 4, "streamsBehind": 1, "relayPackets": 5, "logins": 6, "questions": 7},
    "commits": {"count": 20, "sumSeconds": 0.2},
    "changes": {"count": 100, "sumSeconds": 0.1},
    "seen": [
        {
            "id": "1",
            "name": "[bold]web",
            "user": "alice",
            "state": "offline",
            "lastSeen": "2026-06-01T12:00:00+00:00",
            "version": "1.80.0",
            "address": "100.64.0.1",
        }
    ],
    "events": [{"at": "2026-06-01T12:00:09+00:00", "node": "web", "what": "ended: lost"}],
}


def shown(now: dict[str, Any], before: dict[str, Any] | None = None) -> str:
    out = StringIO()
    Console(file=out, width=140, highlight=False).print(screen(now, before))
    return " ".join(out.getvalue().split())


def test_what_is_and_what_waits_is_on_the_screen() -> None:
    text = shown(OVERVIEW)
    for words in ("2 online of 3", "2 open, 1 behind", "4 steps, 5 relayed packets", "6 logins, 7 questions"):
        assert words in text
    assert "web ended: lost" in text


def test_names_are_not_markup() -> None:
    assert "[bold]web alice offline" in shown(OVERVIEW)


def test_rates_are_since_the_screen_before() -> None:
    """Of the second in between: 5 commits of 40 ms each; without one before, since the start."""
    later = {**OVERVIEW, "at": "2026-06-01T12:00:11+00:00", "commits": {"count": 25, "sumSeconds": 0.4}}
    assert "commits 5.0/s 40.0 ms each" in shown(later, OVERVIEW)
    assert "commits 2.0/s 10.0 ms each" in shown(OVERVIEW)


def test_a_server_that_was_started_anew_has_no_negative_rates() -> None:
    anew = {**OVERVIEW, "commits": {"count": 10, "sumSeconds": 0.1}}
    assert "commits 1.0/s 10.0 ms each" in shown(anew, OVERVIEW)


def test_a_policy_that_is_not_in_force_stands_out() -> None:
    assert "policy: policy 3 cannot be used" in shown(
        {**OVERVIEW, "policyProblem": "policy 3 cannot be used"}
    )
