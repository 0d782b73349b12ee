"""Reading `ssh` and `sshTests`."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from headscale.policy.aliases import (
    ROLES,
    Addresses,
    Alias,
    Autogroup,
    Everyone,
    GroupName,
    Names,
    TagName,
    UserDomain,
    UserName,
    fold_login,
    read_alias,
    read_domain,
)
from headscale.policy.cursor import Cursor
from headscale.policy.document import SSH, SSHTest, SSHUsers

_SSH: Final = (
    "action",
    "src",
    "dst",
    "users",
    "checkPeriod",
    "acceptEnv",
    "recorder",
    "enforceRecorder",
)
_POSTURE: Final = {
    "srcPosture": "srcPosture is not supported: a rule cannot depend on the state of a device",
}
_SSH_TEST: Final = ("src", "dst", "accept", "deny", "check")

CHECK_PERIOD: Final = timedelta(hours=12)
CHECK_PERIOD_MAX: Final = timedelta(hours=168)
# Longer than any duration that Go prints.
DURATION_CHARS_MAX: Final = 64
_ACTIONS: Final = {"accept": False, "check": True}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_UNIT_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def read_ssh(cursor: Cursor, names: Names) -> tuple[SSH, ...]:
    """All of `ssh`."""
    return tuple(_rule(item, names) for item in cursor.items())


def _rule(cursor: Cursor, names: Names) -> SSH:
    parts = cursor.fields(_SSH, _POSTURE)
    check = _action(cursor, parts)
    sources = _aliases(parts, "src", names, _may_connect)
    destinations = _aliases(parts, "dst", names, _may_be_entered)
    _check_pairs(cursor, sources, destinations)
    recorders = _aliases(parts, "recorder", names, lambda alias: isinstance(alias, TagName))
    return SSH(
        place=cursor.place,
        check=check,
        sources=sources,
        destinations=destinations,
        users=_users(cursor, parts, names),
        period=_period(parts["checkPeriod"], check=check) if "checkPeriod" in parts else CHECK_PERIOD,
        accept_env=_accept_env(parts["acceptEnv"]) if "acceptEnv" in parts else (),
        recorders=recorders,
        enforce_recorder=parts["enforceRecorder"].boolean() if "enforceRecorder" in parts else False,
    )


def _action(cursor: Cursor, parts: dict[str, Cursor]) -> bool:
    text = parts["action"].string() if "action" in parts else ""
    if text == "":
        cursor.complain('action must be specified: "accept" or "check"')
    elif text is not None and text.strip() not in _ACTIONS:
        parts["action"].complain(f'"{text}" is not a valid action: "accept" and "check" are')
    return _ACTIONS.get((text or "").strip(), False)


def _aliases(
    parts: dict[str, Cursor], name: str, names: Names, fits: Callable[[Alias], bool]
) -> tuple[Alias, ...]:
    def one(text: str) -> Alias:
        try:
            alias = read_alias(text, names)
        except ValueError as problem:
            raise ValueError(f"[ssh] {problem}") from None
        if not fits(alias):
            raise ValueError(f'[ssh] {name} contains disallowed element "{alias.text}"')
        return alias

    return tuple(parts[name].read_all(one)) if name in parts else ()


def _may_connect(alias: Alias) -> bool:
    group = isinstance(alias, Autogroup) and alias.name in ("member", "tagged", *ROLES)
    return group or isinstance(alias, UserName | UserDomain | GroupName | TagName)


def _may_be_entered(alias: Alias) -> bool:
    group = isinstance(alias, Autogroup) and alias.name in ("member", "tagged", "self", *ROLES)
    return group or isinstance(alias, UserName | TagName)


def _check_pairs(cursor: Cursor, sources: tuple[Alias, ...], destinations: tuple[Alias, ...]) -> None:
    """Nobody reaches another person's device by SSH, and machines reach no person's."""
    machine = next((s for s in sources if isinstance(s, TagName) or s == _TAGGED), None)
    for destination in dict.fromkeys(destinations):
        people = isinstance(destination, Autogroup) and destination.name in ("member", "self", *ROLES)
        if isinstance(destination, UserName):
            name = fold_login(destination.text)
            if any(not isinstance(s, UserName) or fold_login(s.text) != name for s in dict.fromkeys(sources)):
                cursor.complain(
                    f'[ssh] the devices of "{destination.text}" can be entered by that user alone: '
                    f'src must be ["{destination.text}"]'
                )
                return
        elif people and machine is not None:
            cursor.complain(
                f'[ssh] tagged nodes ("{machine.text}") cannot enter the devices of users ("{destination.text}")'
            )


_TAGGED: Final = Autogroup("autogroup:tagged", "tagged")


def _users(cursor: Cursor, parts: dict[str, Cursor], names: Names) -> SSHUsers:
    root = nonroot = False
    plain: list[str] = []
    domains: list[UserDomain] = []
    some = False
    for item, text in parts["users"].strings() if "users" in parts else ():
        some = True
        user = text.strip()
        if user in ("", "*"):
            item.complain(f'user "{user}" is not valid')
        elif user == "root":
            root = True
        elif user == "autogroup:nonroot":
            nonroot = True
        elif user.startswith("localpart:*@"):
            try:
                domains.append(read_domain(user, "localpart:*@", names))
            except ValueError as problem:
                item.complain(f"[ssh] {problem}")
        else:
            plain.append(user)
    if not some and ("users" not in parts or next(parts["users"].items(), None) is None):
        cursor.complain("users must be specified")
    return SSHUsers(root, nonroot, tuple(plain), tuple(domains))


def _period(cursor: Cursor, *, check: bool) -> timedelta:
    text = cursor.string()
    if text is None:
        return CHECK_PERIOD
    try:
        period = timedelta(0) if text.strip() == "always" else read_duration(text.strip())
    except ValueError as problem:
        cursor.complain(str(problem))
        return CHECK_PERIOD
    if period < timedelta(0):
        cursor.complain(f"checkPeriod {print_duration(period)} must be a positive duration")
    elif period > CHECK_PERIOD_MAX:
        cursor.complain(f"checkPeriod {print_duration(period)} is longer than 168h")
    elif not check:
        cursor.complain('checkPeriod is only for rules with "action": "check"')
    return period


def read_duration(text: str) -> timedelta:
    """A duration as Go writes it: `1h30m`, `90s`, `-1m`. Raises ValueError with Go's text."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if len(digits) > DURATION_CHARS_MAX:
        raise ValueError(f'time: invalid duration "{text[:DURATION_CHARS_MAX]}…"')
    if digits == "0":
        return timedelta(0)
    seconds, at = 0.0, 0
    while part := _PART.match(digits, at):
        seconds += float(part[1]) * _UNIT_S[part[2]]
        at = part.end()
    if not digits or at != len(digits) or seconds > 2**63 / 1e9:
        raise ValueError(f'time: invalid duration "{text}"')
    return timedelta(seconds=sign * seconds)


def print_duration(duration: timedelta) -> str:
    """The duration as Go prints it: `-1m0s`, `168h0m0s`."""
    sign = "-" if duration < timedelta(0) else ""
    minutes, seconds = divmod(abs(duration).total_seconds(), 60)
    hours, minutes = divmod(int(minutes), 60)
    front = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{front}{seconds:g}s"


def _accept_env(cursor: Cursor) -> tuple[str, ...]:
    patterns = []
    for item, text in cursor.strings():
        if not text:
            item.complain("acceptEnv values cannot be empty")
        patterns.append(text)
    return tuple(patterns)


def read_ssh_tests(cursor: Cursor, names: Names) -> tuple[SSHTest, ...]:
    """All of `sshTests`. Only destinations that can never be a node are complained of; the rest fails when it runs."""
    tests = []
    for item in cursor.items():
        parts = item.fields(_SSH_TEST)
        for place, text in parts["dst"].strings() if "dst" in parts else ():
            if not _is_node(text.strip(), names):
                place.complain(f'SSH tests dst contains disallowed element "{text}"')
        tests.append(
            SSHTest(
                place=item.place,
                source=(parts["src"].string() or "") if "src" in parts else "",
                destinations=_texts(parts, "dst"),
                accept=_texts(parts, "accept"),
                deny=_texts(parts, "deny"),
                check=_texts(parts, "check"),
            )
        )
    return tuple(tests)


def _is_node(text: str, names: Names) -> bool:
    try:
        alias = read_alias(text, names)
    except ValueError:
        return True  # unknown names fail the test, with a better text
    if isinstance(alias, Addresses):
        return ("/" not in text and "-" not in text) or text in names.hosts
    return not (
        isinstance(alias, Everyone)
        or (isinstance(alias, Autogroup) and alias.name in ("internet", "danger-all", "nonroot"))
    )


def _texts(parts: dict[str, Cursor], name: str) -> tuple[str, ...]:
    return tuple(text for _, text in parts[name].strings()) if name in parts else ()
