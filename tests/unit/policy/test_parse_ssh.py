"""What `ssh` and `sshTests` are read as, durations too, and what is said of each that is wrong."""

from datetime import timedelta

import pytest

from headscale.policy.document import SSHUsers
from headscale.policy.parse import parse_policy
from headscale.policy.parse_ssh import CHECK_PERIOD, CHECK_PERIOD_MAX, print_duration, read_duration
from tests.unit.policy.small import complaint, complaints

NO_POSTURE = "srcPosture is not supported: a rule cannot depend on the state of a device"


def ssh(rest: str, action: str = '"accept"') -> str:
    return (
        '{"groups": {"group:g": []}, "tagOwners": {"tag:a": []}, "hosts": {"h": "10.0.0.1"},'
        f' "ssh": [«{{"action": {action}, {rest}}}]}}'
    )


def inside(rest: str, action: str = '"accept"') -> str:
    """A rule with the mark within."""
    return ssh(rest, action).replace("[«{", "[{")


USERS = '"users": ["root"]'


def test_a_rule() -> None:
    """Who comes, where to, as whom, and what is asked of the session."""
    document = parse_policy(
        '{"tagOwners": {"tag:a": [], "tag:rec": []}, "ssh": [{"action": "check", "src": ["a@"], "dst": ["tag:a"],'
        ' "users": ["root", "autogroup:nonroot", " pi ", "localpart:*@x.org"], "checkPeriod": "1h30m",'
        ' "acceptEnv": ["LC_*"], "recorder": ["tag:rec"], "enforceRecorder": true}]}'
    )
    (rule,) = document.ssh
    assert rule.check
    assert rule.users == SSHUsers(True, True, ("pi",), rule.users.domains)
    assert [domain.domain for domain in rule.users.domains] == ["x.org"]
    assert rule.period == timedelta(minutes=90)
    assert (rule.accept_env, rule.enforce_recorder) == (("LC_*",), True)
    assert [alias.text for alias in rule.recorders] == ["tag:rec"]


def test_a_check_lasts_twelve_hours() -> None:
    """Unless the rule says otherwise; `always` asks each time."""
    text = f'{{"ssh": [{{"action": "check", {USERS}}}, {{"action": "check", {USERS}, "checkPeriod": "always"}}]}}'
    assert [rule.period for rule in parse_policy(text).ssh] == [CHECK_PERIOD, timedelta(0)]


@pytest.mark.parametrize(
    "source", ["a@", "user:*@x.org", "group:g", "tag:a", "autogroup:tagged", "autogroup:owner"]
)
def test_who_may_come(source: str) -> None:
    """Users, groups, tags, roles and all members or tagged nodes."""
    text = ssh(f'"src": ["{source}"], "dst": ["tag:a"], {USERS}').replace("«", "")
    assert parse_policy(text).ssh[0].sources[0].text == source


NO_PERIOD = 'checkPeriod is only for rules with "action": "check"'


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('{"ssh": «{}}', "", "expected a list, found an object"),
        (f'{{"ssh": [«{{{USERS}}}]}}', "[0]", 'action must be specified: "accept" or "check"'),
        (ssh(USERS, '""'), "[0]", 'action must be specified: "accept" or "check"'),
        (inside(USERS, '«"deny"'), "[0].action", '"deny" is not a valid action: "accept" and "check" are'),
        (inside(USERS, "«true"), "[0].action", "expected a string, found true"),
        (ssh('"src": []'), "[0]", "users must be specified"),
        (ssh('"users": []'), "[0]", "users must be specified"),
        (ssh('"users": null'), "[0]", "users must be specified"),
        (inside('"users": [«""]'), "[0].users[0]", 'user "" is not valid'),
        (inside('"users": ["root", «"*"]'), "[0].users[1]", 'user "*" is not valid'),
        (inside('"users": [«1]'), "[0].users[0]", "expected a string, found a number"),
        (
            inside('"users": [«"localpart:*@"]'),
            "[0].users[0]",
            "[ssh]  is not associated with this Tailnet and cannot be used in user:*@<domain> expressions",
        ),
        (inside(f'{USERS}, «"srcPosture": []'), "[0].srcPosture", NO_POSTURE),
        (
            inside(f'{USERS}, «"recorders": []'),
            "[0].recorders",
            'unknown field: "recorders", did you mean "recorder"?',
        ),
        (inside(f'{USERS}, "src": [«"tag:zz"]'), "[0].src[0]", '[ssh] tag not found: "tag:zz"'),
        *(
            (
                inside(f'{USERS}, "src": [«"{word}"]'),
                "[0].src[0]",
                f'[ssh] src contains disallowed element "{word}"',
            )
            for word in ("*", "10.0.0.1", "h", "autogroup:self", "autogroup:internet", "autogroup:danger-all")
        ),
        *(
            (
                inside(f'{USERS}, "dst": [«"{word}"]'),
                "[0].dst[0]",
                f'[ssh] dst contains disallowed element "{word}"',
            )
            for word in ("*", "10.0.0.1", "h", "group:g", "user:*@x.org", "autogroup:internet")
        ),
        *(
            (
                inside(f'{USERS}, "recorder": [«"{word}"]'),
                "[0].recorder[0]",
                f'[ssh] recorder contains disallowed element "{word}"',
            )
            for word in ("*", "a@", "autogroup:tagged")
        ),
        (inside(f'{USERS}, "acceptEnv": [«""]'), "[0].acceptEnv[0]", "acceptEnv values cannot be empty"),
        (
            inside(f'{USERS}, "enforceRecorder": «"yes"'),
            "[0].enforceRecorder",
            "expected true or false, found a string",
        ),
        (inside(f'{USERS}, "checkPeriod": «"1h"'), "[0].checkPeriod", NO_PERIOD),
        (
            inside(f'{USERS}, "checkPeriod": «1', '"check"'),
            "[0].checkPeriod",
            "expected a string, found a number",
        ),
        (
            inside(f'{USERS}, "checkPeriod": «"1d"', '"check"'),
            "[0].checkPeriod",
            'time: invalid duration "1d"',
        ),
        (
            inside(f'{USERS}, "checkPeriod": «"-1m"', '"check"'),
            "[0].checkPeriod",
            "checkPeriod -1m0s must be a positive duration",
        ),
        (
            inside(f'{USERS}, "checkPeriod": «"168h0m1s"', '"check"'),
            "[0].checkPeriod",
            "checkPeriod 168h0m1s is longer than 168h",
        ),
        (
            ssh(f'"src": ["b@"], "dst": ["a@"], {USERS}'),
            "[0]",
            '[ssh] the devices of "a@" can be entered by that user alone: src must be ["a@"]',
        ),
        (
            ssh(f'"src": ["tag:a"], "dst": ["autogroup:member"], {USERS}'),
            "[0]",
            '[ssh] tagged nodes ("tag:a") cannot enter the devices of users ("autogroup:member")',
        ),
        (
            ssh(f'"src": ["a@", "autogroup:tagged"], "dst": ["autogroup:self"], {USERS}'),
            "[0]",
            '[ssh] tagged nodes ("autogroup:tagged") cannot enter the devices of users ("autogroup:self")',
        ),
    ],
)
def test_what_is_wrong_with_a_rule(text: str, path: str, message: str) -> None:
    """What an SSH rule may not say; what is wrong with both sides together is said of the rule."""
    assert complaints(text) == (complaint(text, f"ssh{path}", message),)


def test_a_check_may_last_so_long() -> None:
    """A week is taken, a second more is not (above)."""
    text = f'{{"ssh": [{{"action": "check", {USERS}, "checkPeriod": "168h"}}]}}'
    assert parse_policy(text).ssh[0].period == CHECK_PERIOD_MAX


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0", timedelta(0)),
        ("-0", timedelta(0)),
        ("90s", timedelta(seconds=90)),
        ("+1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        (".5m", timedelta(seconds=30)),
        ("1.m", timedelta(seconds=60)),
        ("-1m", timedelta(seconds=-60)),
        ("1s1s", timedelta(seconds=2)),
        ("1000us", timedelta(milliseconds=1)),
        ("1µs", timedelta(microseconds=1)),
        ("2000000ns", timedelta(milliseconds=2)),
        ("30ms", timedelta(milliseconds=30)),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    """Durations are written as in Go: numbers with units, from hours to nanoseconds, and a sign."""
    assert read_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    ["", "-", "+", "1", "h", ".s", "1d", "1h ", "1 h", "--1h", "-+1h", "1h-1m", "1h1", "9" * 60 + "h"],
)
def test_no_durations(text: str) -> None:
    """A number without a unit, a unit without a number, and what Go cannot hold, are refused in Go's words."""
    with pytest.raises(ValueError) as caught:
        read_duration(text)
    assert str(caught.value) == f'time: invalid duration "{text}"'


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(hours=168), "168h0m0s"),
        (timedelta(seconds=-60), "-1m0s"),
        (timedelta(milliseconds=1500), "1.5s"),
    ],
)
def test_durations_are_printed(duration: timedelta, text: str) -> None:
    """As Go prints them."""
    assert print_duration(duration) == text


def ssh_test(rest: str) -> str:
    return f'{{"groups": {{"group:g": []}}, "hosts": {{"net": "10.0.0.0/8"}}, "sshTests": [{{{rest}}}]}}'


def test_an_ssh_test_is_taken_as_it_is_written() -> None:
    """Names are looked up when it runs; a host by its name may be a whole network."""
    text = ssh_test(
        '"src": "?", "dst": ["?", "net", "10.0.0.1"], "accept": ["a"], "deny": ["b"], "check": ["c"]'
    )
    (test,) = parse_policy(text).ssh_tests
    assert (test.source, test.destinations) == ("?", ("?", "net", "10.0.0.1"))
    assert (test.accept, test.deny, test.check) == (("a",), ("b",), ("c",))


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        *(
            (
                ssh_test(f'"dst": [«"{word}"]'),
                ".dst[0]",
                f'SSH tests dst contains disallowed element "{word}"',
            )
            for word in ("*", "10.0.0.0/8", "10.0.0.1-10.0.0.2", "autogroup:internet", "autogroup:danger-all")
        ),
        (ssh_test('"dst": «"x"'), ".dst", "expected a list, found a string"),
        (ssh_test('"src": «["x"]'), ".src", "expected a string, found a list"),
        (
            ssh_test('«"users": []'),
            ".users",
            'unknown field: "users" (known are src, dst, accept, deny, check)',
        ),
    ],
)
def test_what_is_wrong_with_the_form_of_an_ssh_test(text: str, path: str, message: str) -> None:
    """Its destinations could at least be nodes."""
    assert complaints(text)[0] == complaint(text, f"sshTests[0]{path}", message)
