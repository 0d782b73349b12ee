"""What `acls`, `grants` and `tests` are read as, and what is said of each that is wrong."""

import msgspec
import pytest

from headscale.policy.aliases import ROLES
from headscale.policy.document import Acl, Grant, Place, Target
from headscale.policy.document import Test as PolicyTest
from headscale.policy.parse import parse_policy
from headscale.policy.parse_access import VENDOR_CAPABILITIES
from headscale.policy.ports import ANYTHING, Traffic
from headscale.tailcfg.filters import PortRange
from tests.unit.policy.small import acl, complaint, complaints, grant, parsed

NO_POSTURE = " is not supported: a rule cannot depend on the state of a device"


def in_acl(rest: str) -> str:
    return f'{{"tagOwners": {{"tag:a": []}}, "acls": [{{"action": "accept", {rest}}}]}}'


def in_grant(rest: str) -> str:
    return f'{{"tagOwners": {{"tag:a": []}}, "grants": [{{{rest}}}]}}'


def test_an_acl() -> None:
    """Each destination has its own ports, and the rule's protocol; the rule knows where it stands."""
    document = parse_policy(
        '{"acls": [\n {"action": " accept ", "proto": "tcp", "src": ["*"], "dst": ["*:22,80-90"]}]}'
    )
    (rule,) = document.acls
    traffic = Traffic(6, (PortRange(22, 22), PortRange(80, 90)))
    assert rule == Acl(Place(2, 2, "acls[0]"), rule.sources, (Target(rule.sources[0], traffic),))


@pytest.mark.parametrize(
    ("dst", "alias"),
    [("tag:web:22", "tag:web"), ("fd00::1:22", "fd00::1"), ("[fd00::1]:22", "[fd00::1]"), (" *:22", "*")],
)
def test_the_last_colon_parts_the_ports(dst: str, alias: str) -> None:
    """Whatever colons the destination has, with brackets or without."""
    (target,) = parsed({"acls": [{"action": "accept", "src": ["*"], "dst": [dst]}]}).acls[0].targets
    assert (target.alias.text, target.traffic.ports) == (alias, (PortRange(22, 22),))


def test_a_rule_may_carry_remarks() -> None:
    """Keys of a rule that begin with # are comments, whatever stands there."""
    assert (
        parse_policy('{"acls": [{"#ha-meta": {"x": 1}, "#": null, "action": "accept"}]}').acls[0].targets
        == ()
    )


def test_nothing_else_may_carry_remarks() -> None:
    """A key with # anywhere else is an unknown field."""
    text = '{"grants": [{«"#": 1, "ip": ["*"]}]}'
    message = 'unknown field: "#" (known are src, dst, ip, app, via)'
    assert complaints(text) == (complaint(text, 'grants[0]["#"]', message),)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('{"acls": [«{}]}', "[0]", 'action must be specified: "action": "accept"'),
        ('{"acls": [«{"action": ""}]}', "[0]", 'action must be specified: "action": "accept"'),
        ('{"acls": [«{"action": null}]}', "[0]", 'action must be specified: "action": "accept"'),
        (
            '{"acls": [{"action": «"deny"}]}',
            "[0].action",
            'action="deny" is not supported: only "accept" is, what no rule accepts is denied',
        ),
        ('{"acls": [{"action": «1}]}', "[0].action", "expected a string, found a number"),
        (in_acl('«"srcPosture": []'), "[0].srcPosture", f"srcPosture{NO_POSTURE}"),
        (in_acl('«"srcPostureAttrs": []'), "[0].srcPostureAttrs", f"srcPostureAttrs{NO_POSTURE}"),
        (in_acl('«"users": []'), "[0].users", 'unknown field: "users" (known are action, proto, src, dst)'),
        (
            in_acl('«"destination": []'),
            "[0].destination",
            'unknown field: "destination" (known are action, proto, src, dst)',
        ),
        (in_acl('"src": «"*"'), "[0].src", "expected a list, found a string"),
        (in_acl('"src": [«""]'), "[0].src[0]", "src=a name must not be empty"),
        (in_acl('"src": ["*", «"tag:zz"]'), "[0].src[1]", 'src=tag not found: "tag:zz"'),
        *(
            (
                in_acl(f'"src": [«"autogroup:{name}"]'),
                "[0].src[0]",
                f'"autogroup:{name}" not valid on the src side of a rule',
            )
            for name in ("self", "internet", "nonroot")
        ),
        *(
            (
                in_acl(f'"dst": [«"autogroup:{name}:*"]'),
                "[0].dst[0]",
                f'"autogroup:{name}" not valid on the dst side of a rule',
            )
            for name in ("danger-all", "nonroot")
        ),
        (in_acl('"dst": [«"*"]'), "[0].dst[0]", 'dst="*": expected "*:*" or ports after a colon'),
        (in_acl('"dst": [«"printer:80"]'), "[0].dst[0]", 'dst=host not found: "printer"'),
        (in_acl('"dst": [«"tag:a"]'), "[0].dst[0]", 'dst="tag:a": port range "a": invalid first integer'),
        (
            in_acl('"dst": [«"*:0"]'),
            "[0].dst[0]",
            'dst="*:0": port range "0": first port must be >0, or use \'*\' for wildcard',
        ),
        (
            in_acl('"proto": "icmp", "dst": [«"*:22"]'),
            "[0].dst[0]",
            "protocol 1 has no ports: use '*' (only tcp, udp and sctp can be limited to ports)",
        ),
    ],
)
def test_what_is_wrong_with_an_acl(text: str, path: str, message: str) -> None:
    """What an acl may not say, each at the value that says it."""
    assert complaints(text) == (complaint(text, f"acls{path}", message),)


def test_an_unknown_protocol() -> None:
    """It is complained of where it stands."""
    text = in_acl('"proto": «"tpc", "dst": ["*:22"]')
    (found,) = complaints(text)
    assert found == complaint(text, "acls[0].proto", found.message)
    assert found.message.startswith('proto="tpc": neither a number from 0 to 255 nor one of icmp')


SELF = "autogroup:self can only be used with users, groups, or supported autogroups, not with "


@pytest.mark.parametrize("source", ["tag:web", "10.0.0.1", "autogroup:tagged", "autogroup:danger-all"])
def test_own_devices_are_of_people(source: str) -> None:
    """autogroup:self stands beside no source that is not a person; the complaint names the first such."""
    for text in (
        in_acl(f'"src": ["a@", "{source}"], "dst": [«"autogroup:self:*"]').replace("tag:a", "tag:web"),
        in_grant(f'"src": ["{source}"], "dst": [«"autogroup:self"], "ip": ["*"]').replace("tag:a", "tag:web"),
    ):
        section = "acls" if "acls" in text else "grants"
        assert complaints(text) == (complaint(text, f"{section}[0].dst[0]", f'{SELF}"{source}"'),)


def test_everybodys_own_devices() -> None:
    """`*` may stand beside autogroup:self in an acl, but not in a grant."""
    assert parsed({"acls": [acl("*", "autogroup:self:*")]}).acls
    text = in_grant('"src": ["*"], "dst": [«"autogroup:self"], "ip": ["*"]')
    assert complaints(text) == (complaint(text, "grants[0].dst[0]", f'{SELF}"*"'),)


@pytest.mark.parametrize("source", ["a@", "user:*@x.org", "group:g", "autogroup:member", "autogroup:admin"])
def test_people_have_own_devices(source: str) -> None:
    """Users, groups, members and roles may stand beside autogroup:self."""
    assert parsed({"groups": {"group:g": []}, "grants": [grant(source, "autogroup:self")]}).grants


def test_a_grant() -> None:
    """Traffic, capabilities with their values as they came, and routers, all for the same two sides."""
    value = '{"a":[1,2.5,null]}'
    document = parse_policy(
        '{"tagOwners": {"tag:r": []}, "grants": [{"src": ["a@"], "dst": ["10.0.0.0/8"],'
        f' "ip": ["*", "tcp:22"], "app": {{"x.org/c": [{value}]}}, "via": ["tag:r"]}}]}}'
    )
    (rule,) = document.grants
    assert rule == Grant(
        Place(1, 41, "grants[0]"),
        rule.sources,
        rule.destinations,
        (ANYTHING, Traffic(6, (PortRange(22, 22),))),
        {"x.org/c": [msgspec.Raw(value.encode())]},
        ("tag:r",),
    )


EMPTY_GRANT = "ip and app can not both be empty"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('{"grants": [«{}]}', "[0]", EMPTY_GRANT),
        ('{"grants": [«{"ip": [], "app": {}}]}', "[0]", EMPTY_GRANT),
        ('{"grants": [«{"ip": null, "app": null}]}', "[0]", EMPTY_GRANT),
        (in_grant('"ip": [«"tcp"]'), "[0].ip[0]", 'port range "tcp": invalid first integer'),
        (
            in_grant('"ip": ["*", «"icmp:8"]'),
            "[0].ip[1]",
            "protocol 1 has no ports: use '*' (only tcp, udp and sctp can be limited to ports)",
        ),
        (in_grant('"ip": ["*"], "dst": [«"*:22"]'), "[0].dst[0]", 'dst=host not found: "*:22"'),
        *(
            (
                in_grant(f'"ip": ["*"], "dst": [«"{every}"]'),
                "[0].dst[0]",
                f'dst "{every}": to allow all IP addresses, use "*" or "autogroup:internet"',
            )
            for every in ("0.0.0.0/0", "::/0", "0.0.0.0-255.255.255.255")
        ),
        (in_grant('"ip": ["*"], "via": [«"a@"]'), "[0].via[0]", 'via can only be a tag, found "a@"'),
        (in_grant('"ip": ["*"], "via": ["tag:a", «"tag:b"]'), "[0].via[1]", 'tag "tag:b" not found'),
        (in_grant('"ip": ["*"], «"srcPosture": []'), "[0].srcPosture", f"srcPosture{NO_POSTURE}"),
        (
            in_grant('"ip": ["*"], «"proto": "tcp"'),
            "[0].proto",
            'unknown field: "proto" (known are src, dst, ip, app, via)',
        ),
        (
            '{"grants": [«{"app": {"x.org/c": []}, "dst": ["autogroup:internet"]}]}',
            "[0]",
            "cannot use app grants with autogroup:internet",
        ),
        (in_grant('"app": {"x.org/c": «{}}'), '[0].app["x.org/c"]', "expected a list, found an object"),
        *(
            (
                in_grant(f'"app": {{«"{name}": []}}'),
                f'[0].app["{name}"]',
                f'"{name}": capability name must have the form {{domain}}/{{path}}',
            )
            for name in ("localhost/x", "x.org/", "https://x.org/c", "x.org/a b", "/x")
        ),
        *(
            (
                in_grant(f'"app": {{«"{name}": []}}'),
                f'[0].app["{name}"]',
                f'"{name}": capability name must not be in the tailscale.com domain',
            )
            for name in ("tailscale.com/cap/ssh", "login.tailscale.com/x", "TAILSCALE.com/cap/drive")
        ),
    ],
)
def test_what_is_wrong_with_a_grant(text: str, path: str, message: str) -> None:
    """What a grant may not say, each at the value that says it."""
    assert complaints(text) == (complaint(text, f"grants{path}", message),)


@pytest.mark.parametrize("name", [*sorted(VENDOR_CAPABILITIES), "nottailscale.com/x", "x.org/a/b"])
def test_capabilities_that_a_grant_may_give(name: str) -> None:
    """Any domain's but the vendor's, and of the vendor's those for applications."""
    assert list(parsed({"grants": [grant("*", "*", app={name: []})]}).grants[0].capabilities) == [name]


def test_a_capability_without_values() -> None:
    """`null` is no list of values, but no mistake either."""
    assert parsed({"grants": [grant("*", "*", app={"x.org/c": None})]}).grants[0].capabilities == {
        "x.org/c": []
    }


@pytest.mark.parametrize("source", ["autogroup:danger-all", *(f"autogroup:{role}" for role in ROLES)])
def test_autogroups_as_sources(source: str) -> None:
    """Any address at all, and every role, may be a source."""
    assert parsed({"acls": [acl(source, "*:*")]}).acls[0].sources[0].text == source


def test_a_test_is_taken_as_it_is_written() -> None:
    """What a test names is not looked at before it runs."""
    document = parsed({"tests": [{"src": "?", "proto": "?", "accept": ["x"], "deny": ["y", "z"]}, {}]})
    assert document.tests == (
        PolicyTest(document.tests[0].place, "?", "?", ("x",), ("y", "z")),
        PolicyTest(document.tests[1].place, "", "", (), ()),
    )


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('{"tests": «{}}', "", "expected a list, found an object"),
        ('{"tests": [«1]}', "[0]", "expected an object, found a number"),
        ('{"tests": [{"src": «[]}]}', "[0].src", "expected a string, found a list"),
        ('{"tests": [{"proto": «6}]}', "[0].proto", "expected a string, found a number"),
        ('{"tests": [{"accept": «"x"}]}', "[0].accept", "expected a list, found a string"),
        ('{"tests": [{"deny": [«1]}]}', "[0].deny[0]", "expected a string, found a number"),
        (
            '{"tests": [{«"allow": []}]}',
            "[0].allow",
            'unknown field: "allow" (known are src, proto, accept, deny)',
        ),
        ('{"tests": [{«"srcPostureAttrs": {}}]}', "[0].srcPostureAttrs", f"srcPostureAttrs{NO_POSTURE}"),
    ],
)
def test_what_is_wrong_with_the_form_of_a_test(text: str, path: str, message: str) -> None:
    """A test has a source, and lists of what it reaches and does not."""
    assert complaints(text) == (complaint(text, f"tests{path}", message),)
