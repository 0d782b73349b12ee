"""Roles of users: one owner, who stays; who decides about everybody else."""

from dataclasses import replace
from typing import Any

import pytest

from headscale.errors import Conflict, Malformed, NotFound, Refused
from headscale.records import Role, RoleMapping, Update, User
from headscale.state.people import Profile, meet
from headscale.state.roles import (
    OwnerStays,
    lacks_owner,
    map_roles_again,
    owner_of,
    role_named,
    set_role,
)
from headscale.state.snapshot import Snapshot, put_user
from headscale.state.users import create_user, delete_user
from tests.builders import SETTINGS, moment, tailnet, with_user

ISSUER = "https://idp.example.com"
MAPPING = RoleMapping(
    issuer=ISSUER,
    key="oidc.roles",
    groups=((Role.ADMIN, ("ops",)), (Role.NETWORK_ADMIN, ("net", "noc")), (Role.AUDITOR, ("audit",))),
)
MAPPED = replace(SETTINGS, role_mappings=(MAPPING,))


def roles(snapshot: Snapshot) -> dict[str, str]:
    return {user.name: user.role.value for user in snapshot.users.values()}


def given(snapshot: Snapshot, user_id: int, role: Role, *, by: int | None = None) -> Snapshot:
    return set_role(snapshot, moment(), user_id=user_id, role=role, by=by).snapshot


def met(snapshot: Snapshot, name: str, *groups: str) -> Snapshot:
    """The person has come from the provider, which counts them among these groups."""
    profile = Profile(identifier=f"{ISSUER}/{name}", name=name, groups=tuple(sorted(groups)))
    return meet(snapshot, moment(), profile=profile).snapshot


def test_the_first_user_of_a_tailnet_is_the_owner() -> None:
    assert roles(tailnet("ann", "bob")) == {"ann": "owner", "bob": "member"}
    assert roles(met(met(tailnet(), "ann"), "bob")) == {"ann": "owner", "bob": "member"}
    assert roles(met(tailnet(settings=MAPPED), "ann", "audit")) == {"ann": "owner"}


def test_users_that_are_older_than_roles_have_no_owner_until_somebody_says_so() -> None:
    old = put_user(tailnet(), User(id=1, name="ann", created_at=moment().now))
    assert lacks_owner(old)
    later = create_user(old, moment(), name="bob").snapshot
    assert roles(later) == {"ann": "member", "bob": "member"}
    assert roles(given(later, 2, Role.OWNER)) == {"ann": "member", "bob": "owner"}
    assert not lacks_owner(given(later, 2, Role.OWNER))
    assert not lacks_owner(tailnet())


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_an_administrator_decides_who_is_what(role: Role) -> None:
    effect = set_role(tailnet("ann", "bob"), moment(), user_id=2, role=role)
    assert effect.result.role is role
    assert roles(effect.snapshot) == {"ann": "owner", "bob": role.value}
    assert effect.writes == (() if role is Role.MEMBER else (Update(effect.result),))


def test_ownership_is_handed_over_the_old_owner_first() -> None:
    """Where rows may not have two owners even for a moment."""
    effect = set_role(tailnet("ann", "bob"), moment(), user_id=2, role=Role.OWNER)
    assert roles(effect.snapshot) == {"ann": "admin", "bob": "owner"}
    assert [(w.record.name, w.record.role) for w in effect.writes if isinstance(w, Update)] == [
        ("ann", Role.ADMIN),
        ("bob", Role.OWNER),
    ]
    again = set_role(effect.snapshot, moment(), user_id=2, role=Role.OWNER)
    assert (again.writes, again.snapshot) == ((), effect.snapshot)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.MEMBER])
def test_the_owner_cannot_be_demoted(role: Role) -> None:
    with pytest.raises(OwnerStays, match=r"ann is the owner .*headscale users set-role <user> owner"):
        given(tailnet("ann", "bob"), 1, role)


def test_the_owner_cannot_be_deleted_while_there_are_others() -> None:
    snapshot = tailnet("ann", "bob")
    snapshot = with_user(snapshot, snapshot.users[1], provider_identifier="https://idp.example/ann")
    with pytest.raises(OwnerStays, match="cannot be deleted"):
        delete_user(snapshot, moment(), user_id=1)
    handed = given(snapshot, 2, Role.OWNER)
    alone = delete_user(handed, moment(), user_id=1).snapshot
    assert roles(alone) == {"bob": "owner"}
    nobody = delete_user(alone, moment(), user_id=2).snapshot
    assert roles(create_user(nobody, moment(), name="eve").snapshot) == {"eve": "owner"}


def test_an_owner_who_cannot_sign_in_may_be_deleted() -> None:
    """As the first user that a script makes, and removes again; who is owner then an administrator says."""
    alone = delete_user(tailnet("ann", "bob"), moment(), user_id=1).snapshot
    assert (roles(alone), lacks_owner(alone)) == ({"bob": "member"}, True)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_nobody_but_the_owner_hands_over(role: Role) -> None:
    """It is looked at when it is written: whoever was the owner a moment ago is not."""
    snapshot = given(tailnet("ann", "bob", "eve"), 2, role)
    with pytest.raises(Refused, match="only the owner"):
        given(snapshot, 2, Role.OWNER, by=2)
    assert owner_of(given(snapshot, 3, Role.OWNER, by=1)) == replace(snapshot.users[3], role=Role.OWNER)


@pytest.mark.parametrize("text", ["", "Owner", "it-admin", "root", "member "])
def test_other_words_are_no_roles(text: str) -> None:
    with pytest.raises(Malformed, match="expected one of owner, admin, network-admin, auditor, member"):
        role_named(text)


def test_somebody_unknown_has_no_role() -> None:
    for role in (Role.ADMIN, Role.OWNER):
        with pytest.raises(NotFound):
            given(tailnet("ann"), 9, role)


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (("ops",), "admin"),
        (("audit", "noc", "others"), "network-admin"),
        (("audit", "ops"), "admin"),
        (("/audit",), "auditor"),
        (("OPS", "op", "ops/sub"), "member"),
        ((), "member"),
    ],
)
def test_groups_decide_and_the_highest_role_counts(groups: tuple[str, ...], role: str) -> None:
    assert roles(met(tailnet("ann", settings=MAPPED), "bob", *groups))["bob"] == role


def test_who_is_in_no_such_group_any_more_is_a_member_again() -> None:
    snapshot = met(tailnet("ann", settings=MAPPED), "bob", "ops")
    assert roles(met(snapshot, "bob", "friends"))["bob"] == "member"
    silent = Profile(identifier=f"{ISSUER}/bob")  # it does not speak of groups
    assert roles(meet(snapshot, moment(), profile=silent).snapshot)["bob"] == "admin"


def test_the_owner_is_never_demoted_by_groups() -> None:
    snapshot = met(tailnet(settings=MAPPED), "ann", "ops")
    assert roles(met(snapshot, "ann"))["ann"] == "owner"
    handed = given(met(snapshot, "bob"), 2, Role.OWNER)
    assert roles(handed) == {"ann": "admin", "bob": "owner"}
    assert roles(given(met(handed, "eve", "noc"), 3, Role.OWNER))["bob"] == "member"


def test_where_the_provider_decides_nobody_else_does() -> None:
    snapshot = met(tailnet("ann", "tom", settings=MAPPED), "bob", "audit")
    with pytest.raises(Conflict, match=r"oidc\.roles"):
        given(snapshot, 3, Role.ADMIN)
    assert roles(given(snapshot, 2, Role.ADMIN))["tom"] == "admin"  # of no provider
    assert roles(given(snapshot, 3, Role.OWNER)) == {"ann": "admin", "tom": "member", "bob": "owner"}


@pytest.mark.parametrize("identifier", [f"{ISSUER}x/bob", "https://other.example.com/bob", ISSUER])
def test_only_people_of_that_provider(identifier: str) -> None:
    profile = Profile(identifier=identifier, name="bob", groups=("ops",))
    snapshot = meet(tailnet("ann", settings=MAPPED), moment(), profile=profile).snapshot
    assert roles(snapshot)["bob"] == "member"


def with_settings(snapshot: Snapshot, **changes: Any) -> Snapshot:
    return replace(snapshot, settings=replace(snapshot.settings, **changes))


def test_another_mapping_holds_for_those_who_are_there() -> None:
    """With the groups that their provider told last; without any mapping everybody keeps their role."""
    before = met(met(tailnet("ann"), "bob", "ops"), "eve", "audit")
    assert roles(before)["bob"] == "member"
    effect = map_roles_again(with_settings(before, role_mappings=(MAPPING,)), moment())
    assert roles(effect.snapshot) == {"ann": "owner", "bob": "admin", "eve": "auditor"}
    assert (effect.result, len(effect.writes)) == (2, 2)
    assert map_roles_again(effect.snapshot, moment()).writes == ()
    assert map_roles_again(with_settings(effect.snapshot, role_mappings=()), moment()).result == 0
