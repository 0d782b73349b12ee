"""Entries are found by label, in their order."""

from headscale.policy.filed import filed
from headscale.policy.who import Who


def test_the_entries_about_a_node() -> None:
    """Those of any of its labels, once, and those that more than labels decide."""
    found = filed(
        [
            (Who(frozenset({"a", "b"})), False, "both"),
            (Who(frozenset({"c"})), True, "anybody"),
            (Who(frozenset({"b"})), False, "second"),
        ]
    )
    assert list(found.about(["b", "a", "z"])) == ["both", "anybody", "second"]
    assert list(found.about([])) == list(found.others()) == ["anybody"]
    assert len([*found]) == 3
