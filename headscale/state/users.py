"""Users: create, find, rename, delete."""

import re
from dataclasses import replace
from typing import Final

from headscale.errors import Conflict, Malformed, NotFound
from headscale.records import Advance, Counter, Delete, Insert, Update, User, Write
from headscale.state.effect import Effect, Moment
from headscale.state.roles import check_not_owner, first_role
from headscale.state.snapshot import Snapshot, drop_api_key, drop_key, drop_user, put_user

# The rule that the peer documents (and applies to names from identity providers only): we hold everyone to it.
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*(@[A-Za-z0-9._-]*)?")
NAME_MIN: Final = 2
NAME_MAX: Final = 255


def create_user(
    snapshot: Snapshot,
    moment: Moment,
    *,
    name: str,
    display_name: str = "",
    email: str = "",
    profile_pic_url: str = "",
) -> Effect[User]:
    """A new local user; the first of all is the owner. Raises Malformed for a bad name, Conflict for a taken one."""
    check_name(snapshot, name)
    user = User(
        id=snapshot.last_user_id + 1,
        name=name,
        display_name=display_name,
        email=email,
        profile_pic_url=profile_pic_url,
        role=first_role(snapshot),
        created_at=moment.now,
    )
    return Effect(put_user(snapshot, user), user, (Insert(user), Advance(Counter.USER, user.id)))


def rename_user(snapshot: Snapshot, moment: Moment, *, user_id: int, name: str) -> Effect[User]:
    """The same user under another name; its nodes are shown with it at once."""
    user = find_user(snapshot, user_id)
    if name == user.name:
        return Effect(snapshot, user)
    check_name(snapshot, name)
    renamed = replace(user, name=name)
    touched = frozenset(node.id for node in snapshot.nodes_owned_by(user_id))
    return Effect(put_user(snapshot, renamed), renamed, (Update(renamed),), touched)


def delete_user(snapshot: Snapshot, moment: Moment, *, user_id: int) -> Effect[None]:
    """Forget a user without nodes, their API keys, and the keys that would let nodes in under it.

    A tagged key that the user once made stays: its nodes are the tags' and not the user's. Raises NotFound, OwnerStays
    for the owner while there are others, and Conflict for a user with nodes.
    """
    user = find_user(snapshot, user_id)
    nodes = snapshot.nodes_owned_by(user_id)
    if nodes:
        raise Conflict(
            f"user {user.name} still has {len(nodes)} node(s): delete them or log them in as others"
        )
    # One who cannot sign in never acted as owner, and the last one has nobody to hand over to.
    if user.provider_identifier and len(snapshot.users) > 1:
        check_not_owner(user, "deleted")
    writes: list[Write] = []
    after = drop_user(snapshot, user)
    for key in [key for key in snapshot.pre_auth_keys.values() if key.user_id == user_id]:
        if key.tags:
            kept = replace(key, user_id=None)
            after = replace(after, pre_auth_keys=after.pre_auth_keys.set(key.id, kept))
            writes.append(Update(kept))
        else:
            after = drop_key(after, key)
            writes.append(Delete(key))
    for api_key in [each for each in snapshot.api_keys.values() if each.user_id == user_id]:
        after = drop_api_key(after, api_key)
        writes.append(Delete(api_key))
    return Effect(after, None, (*writes, Delete(user)))


def find_user(snapshot: Snapshot, user_id: int) -> User:
    """The user with this id; raises NotFound."""
    user = snapshot.users.get(user_id)
    if user is None:
        raise NotFound(f"no user has the id {user_id}")
    return user


def user_named(snapshot: Snapshot, name: str) -> User:
    """The one user of this name; raises NotFound, or Malformed when there are several."""
    found = [user for user in snapshot.users.values() if user.name == name]
    if not found:
        raise NotFound(f"no user is named {name[:80]!r}")
    if len(found) > 1:
        raise Malformed(f"{len(found)} users are named {name[:80]!r}: rename one of them first")
    return found[0]


def is_name(text: str) -> bool:
    """Whether policies could refer to a user by this."""
    return NAME_MIN <= len(text) <= NAME_MAX and _NAME.fullmatch(text) is not None


def check_name(snapshot: Snapshot, name: str) -> None:
    """Raises Malformed for a name that policies could not refer to, Conflict for one that is taken."""
    if not is_name(name):
        raise Malformed(
            f"{name[:80]!r} is not a user name: {NAME_MIN} to {NAME_MAX} characters, first a letter, then "
            "letters, digits, '.', '_', '-' and at most one '@'"
        )
    if any(user.name == name and user.provider_identifier is None for user in snapshot.users.values()):
        raise Conflict(f"a user named {name!r} exists already")
