"""The peer's policy: the newest row that was not deleted; and the tags that it gave nodes without writing them down."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from headscale.errors import HeadscaleError
from headscale.peer.cells import text_of
from headscale.peer.nodes import Permitted
from headscale.peer.report import Ledger
from headscale.peer.rows import POLICIES, REQUEST_TAGS_MERGED, PeerDatabase, Row
from headscale.peer.times import created, is_set
from headscale.policy.compiled import compile_policy
from headscale.policy.complaints import PolicyRefused
from headscale.policy.parse import parse_policy
from headscale.records import PolicyText, TailnetSettings, User
from headscale.state.subjects import person_of

SHOWN: Final = 5


def take_policy(database: PeerDatabase, ledger: Ledger, now: datetime) -> tuple[Row, PolicyText] | None:
    """The policy in force, if the database has one. One that cannot be used comes in all the same, and is noted."""
    taken: tuple[Row, PolicyText] | None = None
    for row in reversed(database.rows(POLICIES)):
        text = text_of(row.get("data"))
        if is_set(row.get("deleted_at")):
            ledger.left_out(row, "it was deleted")
        elif taken is not None:
            ledger.left_out(row, "a newer policy is in force")
        elif row.id is None:
            ledger.left_out(row, "its id is no number that an id can be")
        elif not text.strip():
            ledger.left_out(row, "it is empty")
        else:
            taken = (row, PolicyText(id=row.id, text=text, created_at=created(row, now)))
            _look_at(row, text, ledger)
    return taken


def permitted_requests(
    database: PeerDatabase, users: Iterable[User], policy: str | None
) -> tuple[Permitted, str]:
    """Which requested tags a node has by the policy, and why none can be told (empty when they can).

    Up to 0.27 the peer looked that up at each use; a later one has written the tags into the nodes.
    """
    if REQUEST_TAGS_MERGED in database.migrations or not policy:
        return _none, "" if REQUEST_TAGS_MERGED in database.migrations else "there is no policy"
    no_groups = TailnetSettings(server_url="")  # the peer keeps none of identity providers
    people = {user.id: person_of(no_groups, user) for user in users}
    try:
        compiled = compile_policy(parse_policy(policy), people=people, subjects=())
    except HeadscaleError:
        return _none, "the policy cannot be used"

    def permitted(user_id: int | None, asked: tuple[str, ...]) -> tuple[str, ...]:
        if user_id is None:
            return ()
        return tuple(tag for tag in asked if compiled.owns_tag(tag, person_id=user_id))

    return permitted, ""


def _none(user_id: int | None, asked: tuple[str, ...]) -> tuple[str, ...]:
    return ()


def _look_at(row: Row, text: str, ledger: Ledger) -> None:
    try:
        parse_policy(text)
    except PolicyRefused as refused:
        complaints = "; ".join(map(str, refused.complaints[:SHOWN]))
        bare = "host not found" in complaints  # how policies up to 0.25 named users reads as a host today
        hint = "; a user is named with an @ since 0.26: alice@" if bare else ""
        ledger.noted(
            row, f"it cannot be used, and until you set another nobody reaches anybody: {complaints}{hint}"
        )
