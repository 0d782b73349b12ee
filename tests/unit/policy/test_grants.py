"""Grants and ACLs as rows: which, in which order, and with whose sources."""

import pytest

from headscale.policy.grants import COMPANIONS, Row, rows_of
from tests.unit.policy.small import acl, grant, parsed


def told(**sections: object) -> list[str]:
    """The rows for the eye: `sources > targets: traffic or capabilities`."""
    found = rows_of(parsed(dict(sections)))

    def line(row: Row) -> str:
        sources = " ".join(alias.text for alias in found.aliases[row.source])
        targets = " ".join(alias.text for alias in row.targets)
        if row.traffic is None:
            return f"{sources} > {targets}: {' '.join(row.capabilities)}"
        ports = ",".join(f"{p.first}-{p.last}" for p in row.traffic.ports)
        return f"{sources} > {targets}: {row.traffic.protocol or ''} {ports}{' via' * bool(row.via)}"

    return [line(row) for row in found.rows]


def test_without_a_policy_for_traffic() -> None:
    """One row lets everybody reach everything."""
    assert told(ssh=[]) == ["* > *:  0-65535"]


@pytest.mark.parametrize("section", ["acls", "grants"])
def test_an_empty_section_has_no_rows(section: str) -> None:
    """Nothing is let through."""
    assert told(**{section: []}) == []


def test_grants_come_before_acls() -> None:
    """Whatever stands first in the text; each section in its own order."""
    rows = told(
        acls=[acl("a@", "b@:1"), acl("a@", "b@:2")], grants=[grant("c@", "d@", "3"), grant("c@", "d@", "4")]
    )
    assert rows == ["c@ > d@:  3-3", "c@ > d@:  4-4", "a@ > b@:  1-1", "a@ > b@:  2-2"]


def test_traffic_comes_before_capabilities() -> None:
    """A grant has a row for each kind of traffic, then one for all of its capabilities."""
    rule = {**grant("a@", "b@", app={"x.org/b": [], "x.org/a": []}), "ip": ["22", "tcp:*"]}
    assert told(grants=[rule]) == ["a@ > b@:  22-22", "a@ > b@: 6 0-65535", "a@ > b@: x.org/b x.org/a"]


@pytest.mark.parametrize("rule", [acl("", "b@:*"), acl("a@", ""), grant("", "b@"), grant("a@", "")])
def test_a_rule_with_one_side_says_nothing(rule: dict[str, object]) -> None:
    """Without any source, or without any destination, there is no row."""
    assert told(**{"acls" if "action" in rule else "grants": [rule]}) == []


def test_targets_with_the_same_ports_are_one_row() -> None:
    """As long as they follow each other."""
    assert told(acls=[acl("a@", "b@:22 c@:22 d@:80 e@:22")]) == [
        "a@ > b@ c@:  22-22",
        "a@ > d@:  80-80",
        "a@ > e@:  22-22",
    ]


def test_own_devices_are_a_row_of_their_own() -> None:
    """After all else, unless all else are autogroups."""
    assert told(acls=[acl("a@", "autogroup:self:* b@:*")]) == [
        "a@ > b@:  0-65535",
        "a@ > autogroup:self:  0-65535",
    ]
    assert told(acls=[acl("a@", "autogroup:self:* autogroup:member:*")])[0] == "a@ > autogroup:self:  0-65535"
    assert told(grants=[grant("a@", "autogroup:self b@")])[0] == "a@ > b@:  0-65535"


@pytest.mark.parametrize(("capability", "companion"), COMPANIONS.items())
def test_some_capabilities_have_a_companion(capability: str, companion: str) -> None:
    """A row the other way round tells the sources' applications who may use them."""
    rows = told(grants=[grant("a@", "b@ tag:web", app={capability: [{"x": 1}], "x.org/a": []})])
    assert rows == [f"a@ > b@ tag:web: {capability} x.org/a", f"b@ tag:web > a@: {companion}"]


def test_the_companion_of_own_devices() -> None:
    """A person's own devices are on both sides of it."""
    (drive, sharer), *_ = COMPANIONS.items()
    rows = told(grants=[grant("a@", "autogroup:self", app={drive: []})])
    assert rows == [f"a@ > autogroup:self: {drive}", f"a@ > autogroup:self: {sharer}"]


def test_no_companion_through_a_router() -> None:
    """A grant with `via` has none."""
    (drive, _), *_ = COMPANIONS.items()
    assert told(grants=[grant("a@", "10.0.0.0/8", app={drive: []}, via=["tag:router"])]) == [
        f"a@ > 10.0.0.0/8: {drive}"
    ]


def test_equal_sources_are_one_set() -> None:
    """However they are spelled and in whatever order, so that rules with them are merged on the wire."""
    found = rows_of(
        parsed({"acls": [acl("a@ tag:web", "*:1"), acl("tag:web A@ a@", "*:2"), acl("a@", "*:3")]})
    )
    assert [row.source for row in found.rows] == [0, 0, 1]


def test_a_row_knows_its_rule() -> None:
    """Its place is that of the rule it comes from, and its routers are the rule's."""
    found = rows_of(parsed({"grants": [grant("a@", "10.0.0.0/8", via=["tag:web"]), grant("a@", "b@")]}))
    assert [(row.place.path, row.via) for row in found.rows] == [
        ("grants[0]", ("tag:web",)),
        ("grants[1]", ()),
    ]
