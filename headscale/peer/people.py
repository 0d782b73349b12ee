"""The peer's users as ours: one row of a name among local users, one of an identity."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from headscale.peer.cells import text_of
from headscale.peer.report import Ledger
from headscale.peer.rows import USERS, PeerDatabase, Row
from headscale.peer.times import created, is_set
from headscale.records import TAGGED_USER_ID, User
from headscale.state.users import NAME_MAX


@dataclass(frozen=True, slots=True)
class People:
    """Users under the peer's ids. `same_as` leads from every id that the peer uses to the one of the user here."""

    users: tuple[tuple[Row, User], ...]
    same_as: Mapping[int, int]


def take_users(database: PeerDatabase, ledger: Ledger, now: datetime) -> People:
    """Every user that was not deleted, with duplicates told apart or brought together."""
    rows = [row for row in database.rows(USERS) if _is_taken(row, ledger)]
    read = [(row, _user_of(row, now)) for row in rows]
    by_identity: dict[str, int] = {}
    by_name: dict[str, int] = {}
    reserved = {user.name for _, user in read if user.provider_identifier is None}
    taken: list[tuple[Row, User]] = []
    same_as: dict[int, int] = {}
    for row, user in read:
        if user.id in same_as:
            ledger.left_out(row, "another user has the same id")
            continue
        if user.provider_identifier is not None:
            first = by_identity.setdefault(user.provider_identifier, user.id)
            same_as[user.id] = first
            if first != user.id:
                ledger.left_out(row, f"it is the same identity as user {first}, who gets its nodes and keys")
                continue
        else:
            user = _with_own_name(row, user, reserved, by_name, ledger)
            by_name[user.name] = same_as[user.id] = user.id
        taken.append((row, user))
    return People(tuple(taken), same_as)


def _is_taken(row: Row, ledger: Ledger) -> bool:
    if is_set(row.get("deleted_at")):
        ledger.left_out(row, "it was deleted")
    elif row.id is None:
        ledger.left_out(row, "its id is no number that an id can be")
    elif row.id == TAGGED_USER_ID:
        ledger.left_out(row, "its id stands for tagged nodes, who are nobody's")
    else:
        return True
    return False


def _user_of(row: Row, now: datetime) -> User:
    assert row.id is not None
    return User(
        id=row.id,
        name=text_of(row.get("name")),
        display_name=text_of(row.get("display_name")),
        email=text_of(row.get("email")),
        provider=text_of(row.get("provider"))[:32],
        provider_identifier=text_of(row.get("provider_identifier")) or None,
        profile_pic_url=text_of(row.get("profile_pic_url")),
        created_at=created(row, now),
    )


def _with_own_name(
    row: Row, user: User, reserved: set[str], by_name: Mapping[str, int], ledger: Ledger
) -> User:
    """A local user under a name that no other local one has; the peer once allowed none at all."""
    wanted = user.name.strip()[:NAME_MAX] or f"user-{user.id}"
    name, number = wanted, 1
    while name in by_name or (name != user.name and name in reserved):
        number += 1
        name = f"{wanted[: NAME_MAX - 12]}-{number}"
    if name != user.name:
        held = by_name.get(wanted)
        why = f"user {held} has the name too" if held is not None else "its name cannot be one"
        ledger.repaired(row, f"{why}: it becomes {name!r}")
    return replace(user, name=name)
