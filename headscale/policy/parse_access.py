"""Reading `acls`, `grants` and `tests`."""

import re
from typing import Final

import msgspec

from headscale.ipset import EVERYTHING, IPSet
from headscale.policy.aliases import (
    ROLES,
    Addresses,
    Alias,
    Autogroup,
    Everyone,
    GroupName,
    Names,
    UserDomain,
    UserName,
    read_alias,
)
from headscale.policy.cursor import Cursor
from headscale.policy.document import Acl, Grant, Target, Test
from headscale.policy.ports import Traffic, check_ports, read_ports, read_protocol, read_traffic

_ACL: Final = ("action", "proto", "src", "dst")
_GRANT: Final = ("src", "dst", "ip", "app", "via")
_TEST: Final = ("src", "proto", "accept", "deny")
_POSTURE: Final = {
    "srcPosture": "srcPosture is not supported: a rule cannot depend on the state of a device",
    "srcPostureAttrs": "srcPostureAttrs is not supported: a rule cannot depend on the state of a device",
}
# The vendor's own capabilities that a grant may give; the others are given by the control server alone.
VENDOR_CAPABILITIES: Final = frozenset(
    f"tailscale.com/cap/{name}"
    for name in ("drive", "relay", "webui", "kubernetes", "tsidp", "secrets", "golink", "drive-access")
)
_CAPABILITY: Final = re.compile(r"(?P<domain>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)/\S+")
_ALL_OF_A_FAMILY: Final = (IPSet(EVERYTHING.bounds[:2]), IPSet(EVERYTHING.bounds[2:]))


def read_acls(cursor: Cursor, names: Names) -> tuple[Acl, ...]:
    """All of `acls`; what is wrong is complained of and left out."""
    return tuple(_acl(item, names) for item in cursor.items())


def _acl(cursor: Cursor, names: Names) -> Acl:
    parts = cursor.fields(_ACL, _POSTURE, remarks=True)
    _action(cursor, parts)
    protocol = parts["proto"].read(read_protocol) if "proto" in parts else None
    sources = _sources(parts, names)
    targets: list[Target] = []
    selves: list[Cursor] = []
    if "dst" in parts:
        for at, target in parts["dst"].read_each(lambda text: _target(text, protocol, names)):
            targets.append(target)
            if _is_self(target.alias):
                selves.append(parts["dst"].item(at))
    _check_self(selves, sources, everyone_too=True)
    return Acl(cursor.place, sources, tuple(targets))


def _action(cursor: Cursor, parts: dict[str, Cursor]) -> None:
    action = parts["action"].string() if "action" in parts else ""
    if action == "":
        cursor.complain('action must be specified: "action": "accept"')
    elif action is not None and action.strip() != "accept":
        parts["action"].complain(
            f'action="{action}" is not supported: only "accept" is, what no rule accepts is denied'
        )


def _target(text: str, protocol: int | None, names: Names) -> Target:
    """`alias:ports`; the last colon parts them, so that IPv6 addresses need no brackets."""
    name, colon, ports_text = text.strip().rpartition(":")
    if not colon:
        raise ValueError(f'dst="{text}": expected "{text}:*" or ports after a colon')
    try:
        ports = read_ports(ports_text)
    except ValueError as problem:
        raise ValueError(f'dst="{text}": {problem}') from None
    traffic = Traffic(protocol, ports)
    alias = read_destination(name, names)
    check_ports(traffic)
    return Target(alias, traffic)


def _sources(parts: dict[str, Cursor], names: Names) -> tuple[Alias, ...]:
    if "src" not in parts:
        return ()
    return tuple(parts["src"].read_all(lambda text: read_source(text, names)))


def read_source(text: str, names: Names) -> Alias:
    """What may stand in `src`. Raises ValueError."""
    try:
        alias = read_alias(text, names)
    except ValueError as problem:
        raise ValueError(f"src={problem}") from None
    if isinstance(alias, Autogroup) and alias.name in ("self", "internet", "nonroot"):
        raise ValueError(f'"{alias.text}" not valid on the src side of a rule')
    return alias


def read_destination(text: str, names: Names) -> Alias:
    """What may stand in `dst`, without ports. Raises ValueError."""
    try:
        alias = read_alias(text, names)
    except ValueError as problem:
        raise ValueError(f"dst={problem}") from None
    if isinstance(alias, Autogroup) and alias.name in ("danger-all", "nonroot"):
        raise ValueError(f'"{alias.text}" not valid on the dst side of a rule')
    return alias


def _is_self(alias: Alias) -> bool:
    return isinstance(alias, Autogroup) and alias.name == "self"


def _check_self(selves: list[Cursor], sources: tuple[Alias, ...], *, everyone_too: bool) -> None:
    """`autogroup:self` means the source's own devices, so the sources must be people."""
    if not selves:
        return
    for source in sources:
        people = isinstance(source, UserName | UserDomain | GroupName)
        role = isinstance(source, Autogroup) and source.name in ("member", *ROLES)
        if not (people or role or (everyone_too and isinstance(source, Everyone))):
            selves[0].complain(
                "autogroup:self can only be used with users, groups, or supported autogroups, "
                f'not with "{source.text}"'
            )
            return


def read_grants(cursor: Cursor, names: Names) -> tuple[Grant, ...]:
    """All of `grants`; what is wrong is complained of and left out."""
    return tuple(_grant(item, names) for item in cursor.items())


def _grant(cursor: Cursor, names: Names) -> Grant:
    parts = cursor.fields(_GRANT, _POSTURE)
    sources = _sources(parts, names)
    destinations: list[Alias] = []
    selves: list[Cursor] = []
    if "dst" in parts:
        for at, alias in parts["dst"].read_each(lambda text: _grant_destination(text, names)):
            destinations.append(alias)
            if _is_self(alias):
                selves.append(parts["dst"].item(at))
    _check_self(selves, sources, everyone_too=False)
    traffics = tuple(
        dict.fromkeys(traffic for traffic in parts["ip"].read_all(read_traffic)) if "ip" in parts else ()
    )
    capabilities = read_capabilities(parts["app"]) if "app" in parts else {}
    _check_not_empty(cursor, parts)
    if capabilities and any(isinstance(d, Autogroup) and d.name == "internet" for d in destinations):
        cursor.complain("cannot use app grants with autogroup:internet")
    return Grant(cursor.place, sources, tuple(destinations), traffics, capabilities, _via(parts, names))


def _check_not_empty(cursor: Cursor, parts: dict[str, Cursor]) -> None:
    has_ip = "ip" in parts and next(parts["ip"].items(), None) is not None
    has_app = "app" in parts and next(parts["app"].members(), None) is not None
    if not has_ip and not has_app:
        cursor.complain("ip and app can not both be empty")


def _grant_destination(text: str, names: Names) -> Alias:
    alias = read_destination(text, names)
    if isinstance(alias, Addresses) and alias.ips in _ALL_OF_A_FAMILY:
        raise ValueError(f'dst "{alias.text}": to allow all IP addresses, use "*" or "autogroup:internet"')
    return alias


def _via(parts: dict[str, Cursor], names: Names) -> tuple[str, ...]:
    tags = []
    for item, text in parts["via"].strings() if "via" in parts else ():
        tag = text.strip()
        if not tag.startswith("tag:"):
            item.complain(f'via can only be a tag, found "{tag}"')
        elif tag not in names.tags:
            item.complain(f'tag "{tag}" not found')
        tags.append(tag)
    return tuple(tags)


def read_capabilities(
    cursor: Cursor, *, vendor: frozenset[str] = VENDOR_CAPABILITIES
) -> dict[str, list[msgspec.Raw]]:
    """An `app` object: capability name to the values that its application reads."""
    capabilities = {}
    for key, value in cursor.members():
        _check_capability(key, vendor)
        capabilities[key.text] = [msgspec.Raw(msgspec.json.encode(item.plain())) for item in value.items()]
    return capabilities


def _check_capability(key: Cursor, vendor: frozenset[str]) -> None:
    found = _CAPABILITY.fullmatch(key.text)
    if found is None:
        key.complain(f'"{key.text}": capability name must have the form {{domain}}/{{path}}')
        return
    domain = found["domain"].lower()
    is_vendor = domain == "tailscale.com" or domain.endswith(".tailscale.com")
    if is_vendor and key.text not in vendor:
        key.complain(f'"{key.text}": capability name must not be in the tailscale.com domain')


def read_tests(cursor: Cursor) -> tuple[Test, ...]:
    """All of `tests`. What they name is looked up when they run: a test of nothing fails, it is not malformed."""
    tests = []
    for item in cursor.items():
        parts = item.fields(_TEST, _POSTURE)
        tests.append(
            Test(
                place=item.place,
                source=(parts["src"].string() or "") if "src" in parts else "",
                protocol=(parts["proto"].string() or "") if "proto" in parts else "",
                accept=_texts(parts, "accept"),
                deny=_texts(parts, "deny"),
            )
        )
    return tuple(tests)


def _texts(parts: dict[str, Cursor], name: str) -> tuple[str, ...]:
    return tuple(text for _, text in parts[name].strings()) if name in parts else ()
