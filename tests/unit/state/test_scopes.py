"""What scopes allow, case by case; the laws are in tests/property/test_scope_laws.py."""

import pytest

from headscale.state.scopes import DEVICES, EVERYTHING, KNOWN, Grant, allows, read


@pytest.mark.parametrize(
    ("held", "needed", "allowed"),
    [
        ("all", "devices:core", True),
        ("all", "devices:core:read", True),
        ("all", "all:read", True),
        ("all:read", "devices:core:read", True),
        ("all:read", "logs:configuration:read", True),
        ("all:read", "devices:core", False),
        ("all:read", "all", False),
        ("devices:core", "devices:core", True),
        ("devices:core", "devices:core:read", True),
        ("devices:core", "devices:routes:read", False),
        ("devices:core:read", "devices:core:read", True),
        ("devices:core:read", "devices:core", False),
        ("devices", "devices:core", False),
        ("devices:core:read:read", "devices:core:read", False),
        ("made:up", "made:up", True),
        ("made:up", "devices:core:read", False),
        ("", "devices:core:read", False),
        ("ALL", "devices:core", False),
    ],
)
def test_what_a_scope_allows(held: str, needed: str, allowed: bool) -> None:
    assert allows({held}, needed) is allowed
    assert Grant(frozenset({held}), any_tag=True).may_hand_on(needed) is allowed


def test_one_of_several_is_enough_to_ask() -> None:
    grant = Grant(frozenset({"auth_keys"}))
    assert grant.allows("oauth_keys", "auth_keys")
    assert not grant.allows("oauth_keys", "users")
    assert not grant.allows()


def test_administrators_may_do_everything() -> None:
    assert all(EVERYTHING.allows(scope) and EVERYTHING.may_hand_on(scope) for scope in KNOWN)


def test_everything_is_not_handed_on_by_who_has_only_some_tags() -> None:
    """A client with `all` gives any tag."""
    narrowed = Grant(frozenset({"all"}), frozenset({"tag:a"}))
    assert narrowed.allows("all")
    assert not narrowed.may_hand_on("all")
    assert narrowed.may_hand_on(DEVICES)
    assert narrowed.may_hand_on(read("all"))
