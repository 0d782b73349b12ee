"""The roles of users: who is the owner, who decides about everybody else, and handing ownership over.

| | |
|---|---|
| the first user that a tailnet gets | is the owner |
| there is an owner, and others | the owner stays until they hand ownership over; they are an admin then |
| the operator maps groups of an identity provider to roles | that alone decides for its people, the owner excepted |
| anything else | an administrator decides |
"""

from dataclasses import replace
from typing import Final

from headscale.errors import Conflict, Malformed, NotFound, Refused
from headscale.records import Role, RoleMapping, TailnetSettings, Update, User, Write
from headscale.state.effect import Effect, Moment
from headscale.state.scopes import Grant
from headscale.state.snapshot import Snapshot, put_user

HAND_OVER: Final = "headscale users set-role <user> owner"
# Of roles that the hosted service has and we do not.
_ELSEWHERE: Final = frozenset({"it-admin", "billing-admin"})


class OwnerStays(Conflict):
    """The tailnet would be without an owner."""


def role_named(text: str) -> Role:
    """The role of this name; raises Malformed."""
    try:
        return Role(text)
    except ValueError:
        known = ", ".join(Role)
        said = "there is no such role here" if text in _ELSEWHERE else "this is not a role"
        raise Malformed(f"{text[:40]!r}: {said}, expected one of {known}") from None


def owner_of(snapshot: Snapshot) -> User | None:
    """The owner; None in a tailnet without users, or whose users are older than roles."""
    return next((user for user in snapshot.users.values() if user.role is Role.OWNER), None)


def lacks_owner(snapshot: Snapshot) -> bool:
    """Whether an administrator has to say who it is."""
    return bool(snapshot.users) and owner_of(snapshot) is None


def first_role(snapshot: Snapshot) -> Role:
    """What the next new user is, if nothing else decides."""
    return Role.MEMBER if snapshot.users else Role.OWNER


def set_role(
    snapshot: Snapshot, moment: Moment, *, user_id: int, role: Role, by: int | None = None
) -> Effect[User]:
    """The user has this role from now on; made owner, the owner of before becomes an admin.

    `by` is who does it, None for who may do everything. Raises NotFound, OwnerStays for the owner, Conflict where an
    identity provider decides, Refused for a new owner by somebody else than the owner.
    """
    user = snapshot.users.get(user_id)
    if user is None:
        raise NotFound(f"no user has the id {user_id}")
    if role is Role.OWNER:
        return _hand_over(snapshot, user, by)
    if user.role is role:
        return Effect(snapshot, user)
    check_not_owner(user, f"made {role.value}")
    mapping = mapping_of(snapshot.settings, user)
    if mapping is not None:
        raise Conflict(
            f"the groups of {user.login} at the identity provider decide their role: change those there, or "
            f"{mapping.key} in the server's configuration"
        )
    changed = replace(user, role=role)
    return Effect(put_user(snapshot, changed), changed, (Update(changed),))


def check_may_give(grant: Grant, role: Role) -> None:
    """Raises Refused for a new owner by an OAuth client; of people the step knows whether they may."""
    if role is Role.OWNER and grant.person is None and not grant.unbound:
        raise Refused("only the owner may hand ownership over, and not an OAuth client")


def check_not_owner(user: User, what: str) -> None:
    """Raises OwnerStays for the owner; `what` is what was to become of them."""
    if user.role is Role.OWNER:
        raise OwnerStays(
            f"{user.login} is the owner of the tailnet and cannot be {what}: hand ownership over first, with "
            f"`{HAND_OVER}`"
        )


def mapping_of(settings: TailnetSettings, user: User) -> RoleMapping | None:
    """What decides the role of this user, the owner's excepted; None for administrators."""
    identifier = user.provider_identifier or ""
    return next((each for each in settings.role_mappings if identifier.startswith(f"{each.issuer}/")), None)


def with_mapped_role(settings: TailnetSettings, user: User) -> User:
    """The user with the role that follows from their groups, where that decides: the highest, or member."""
    mapping = mapping_of(settings, user)
    if mapping is None or user.role is Role.OWNER:
        return user
    return replace(user, role=_highest(mapping, user))


def map_roles_again(snapshot: Snapshot, moment: Moment) -> Effect[int]:
    """At a start, and when the configuration was read again: the roles as its mappings of now say; how many changed."""
    writes = list[Write]()
    for user in snapshot.users.values():
        mapped = with_mapped_role(snapshot.settings, user)
        if mapped != user:
            snapshot = put_user(snapshot, mapped)
            writes.append(Update(mapped))
    return Effect(snapshot, len(writes), tuple(writes))


def _hand_over(snapshot: Snapshot, user: User, by: int | None) -> Effect[User]:
    if by is not None and (giver := snapshot.users.get(by)) is not None and giver.role is not Role.OWNER:
        raise Refused("only the owner may hand ownership over")
    if user.role is Role.OWNER:
        return Effect(snapshot, user)
    writes = list[Write]()
    old = owner_of(snapshot)
    if old is not None:  # first, so that there are never two
        old = with_mapped_role(snapshot.settings, replace(old, role=Role.ADMIN))
        snapshot = put_user(snapshot, old)
        writes.append(Update(old))
    new = replace(user, role=Role.OWNER)
    return Effect(put_user(snapshot, new), new, (*writes, Update(new)))


def _highest(mapping: RoleMapping, user: User) -> Role:
    held = {name for group in user.groups for name in (group, group.removeprefix("/"))}
    return next((role for role, groups in mapping.groups if not held.isdisjoint(groups)), Role.MEMBER)
