"""What `autoApprovers` and `nodeAttrs` are read as, and what is said of each that is wrong."""

from ipaddress import IPv4Network, IPv6Network

import msgspec
import pytest

from headscale.policy.parse import parse_policy
from headscale.policy.parse_nodes import POOL_RANGE, RESERVED
from tests.unit.policy.small import complaint, complaints


def approvers(rest: str) -> str:
    return f'{{"tagOwners": {{"tag:a": []}}, "autoApprovers": {{{rest}}}}}'


def attributes(rest: str) -> str:
    return f'{{"tagOwners": {{"tag:a": []}}, "nodeAttrs": [{{{rest}}}]}}'


def test_approvers() -> None:
    """Prefixes, whatever their host bits, and exit nodes have owners: users, groups, tags, roles, all members."""
    owners = '["a@", "tag:a", "autogroup:admin", "autogroup:member", "autogroup:tagged"]'
    document = parse_policy(
        approvers(f'"routes": {{"10.1.2.3/8": {owners}, "fd00::/64": []}}, "exitNode": {owners}')
    )
    assert [approver.route for approver in document.route_approvers] == [
        IPv4Network("10.0.0.0/8"),
        IPv6Network("fd00::/64"),
    ]
    assert document.route_approvers[0].owners == document.exit_approvers
    assert len(document.exit_approvers) == 5


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('{"autoApprovers": «[]}', "", "expected an object, found a list"),
        (approvers('"routes": «[]'), ".routes", "expected an object, found a list"),
        (approvers('"exitNode": «"a@"'), ".exitNode", "expected a list, found a string"),
        (approvers('«"services": {}'), ".services", "services are not supported"),
        (approvers('«"exitNodes": []'), ".exitNodes", 'unknown field: "exitNodes", did you mean "exitNode"?'),
        (
            approvers('"routes": {«"10.0.0": []}'),
            '.routes["10.0.0"]',
            '"10.0.0" is not a prefix such as 10.0.0.0/8',
        ),
        (approvers('"routes": {«"lab": []}'), ".routes.lab", '"lab" is not a prefix such as 10.0.0.0/8'),
        (approvers('"routes": {"::/0": [«"x"]}'), '.routes["::/0"][0]', 'host not found: "x"'),
        *(
            (
                approvers(f'"exitNode": [«"{owner}"]'),
                ".exitNode[0]",
                f'"{owner}" cannot approve routes: only users, groups, tags and roles can',
            )
            for owner in ("*", "10.0.0.1", "autogroup:self", "autogroup:internet", "autogroup:nonroot")
        ),
    ],
)
def test_what_is_wrong_with_approvers(text: str, path: str, message: str) -> None:
    """Routes are prefixes, and nodes that approve are people's or tagged."""
    assert complaints(text) == (complaint(text, f"autoApprovers{path}", message),)


def test_node_attributes() -> None:
    """Targets have attributes, values for applications, and pools that their addresses come from."""
    document = parse_policy(
        attributes(
            '"target": ["*", "tag:a", "10.0.0.1", "autogroup:member"], "attr": [" funnel ", "one-cgnat?v=true"],'
            ' "ipPool": ["100.81.0.0/16"], "app": {"tailscale.com/app-connectors": [1], "x.org/c": []}'
        )
    )
    (entry,) = document.node_attributes
    assert [alias.text for alias in entry.targets] == ["*", "tag:a", "10.0.0.1", "autogroup:member"]
    assert entry.attributes == ("funnel", "one-cgnat?v=true")
    assert entry.pools == (IPv4Network("100.81.0.0/16"),)
    assert entry.app == {"tailscale.com/app-connectors": [msgspec.Raw(b"1")], "x.org/c": []}


NO_NAME = "an attribute is a name without quotes, backslashes and control characters"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('{"nodeAttrs": «{}}', "", "expected a list, found an object"),
        (attributes('«"targets": []'), "[0].targets", 'unknown field: "targets", did you mean "target"?'),
        (attributes('"target": [«"tag:zz"]'), "[0].target[0]", 'tag not found: "tag:zz"'),
        *(
            (
                attributes(f'"target": [«"autogroup:{name}"]'),
                "[0].target[0]",
                f'"autogroup:{name}" cannot be a target of nodeAttrs',
            )
            for name in ("self", "internet", "danger-all", "nonroot")
        ),
        *(
            (attributes(f'"attr": [«"{name}"]'), "[0].attr[0]", NO_NAME)
            for name in ("", " ", "a\\u0000b", 'a\\"b', "a\\\\b", "a\\nb")
        ),
        (attributes('"attr": «"x"'), "[0].attr", "expected a list, found a string"),
        (
            attributes('"app": {«"tailscale.com/cap/drive": []}'),
            '[0].app["tailscale.com/cap/drive"]',
            '"tailscale.com/cap/drive": capability name must not be in the tailscale.com domain',
        ),
        *(
            (
                attributes(f'"ipPool": [«"{pool}"]'),
                "[0].ipPool[0]",
                f"IPPool({pool}): not an IPv4 prefix such as 100.81.0.0/16",
            )
            for pool in ("fd7a::/64", "100.64.0.1/10", "x", "100.64.0.0-100.64.0.9")
        ),
        *(
            (
                attributes(f'"ipPool": [«"{pool}"]'),
                "[0].ipPool[0]",
                f"IPPool({pool}): network not within {POOL_RANGE}",
            )
            for pool in ("10.0.0.0/8", "100.128.0.0/10", "99.0.0.0/8")
        ),
        *(
            (
                attributes(f'"ipPool": [«"{pool}"]'),
                "[0].ipPool[0]",
                f"IPPool({pool}): network within reserved range",
            )
            for pool in (*RESERVED, "100.100.0.128/25", "100.64.0.0/10")
        ),
    ],
)
def test_what_is_wrong_with_node_attributes(text: str, path: str, message: str) -> None:
    """Targets are nodes, attributes are names, and pools lie in the tailnet's range but where clients use it."""
    assert complaints(text) == (complaint(text, f"nodeAttrs{path}", message),)
