"""Tags: what a key gives, what a person may ask for, and what an administrator sets.

A node is its user's or its tags', never both. Tags change in three ways only, and each is checked here:

| who | when | what is allowed |
|---|---|---|
| a pre-auth key | joining | the key's tags; a client that asks for others is refused |
| the person who logs in | logging in | tags whose `tagOwners` name them, or a tag of the machine's node; all or none |
| an administrator | any time | every tag that `tagOwners` defines, but not none |

What a client asks for at any other time (a lite update, a restart) changes nothing, so that it cannot undo what an
administrator has set.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from headscale.errors import Conflict, Malformed, Refused
from headscale.records import Node, PreAuthKey, Update
from headscale.state.approvals import approved
from headscale.state.effect import Effect, Moment
from headscale.state.nodes import own_node
from headscale.state.snapshot import Snapshot, put_node

# As many as anybody uses; each of them is looked up in the policy, and peers are told of them.
TAGS_MAX: Final = 64
_TAG: Final = re.compile(r"tag:[a-z][a-z0-9-]*")


def plain_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags sorted, each once; raises Malformed for what is none, or for too many."""
    found = tuple(sorted(set(tags)))
    for tag in found:
        if not _TAG.fullmatch(tag):
            raise Malformed(
                f"{tag[:80]!r} is not a tag: expected tag: and lower-case letters, digits, hyphens"
            )
    if len(found) > TAGS_MAX:
        raise Malformed(f"{len(found)} tags are more than a node may have ({TAGS_MAX})")
    return found


def check_key_gives(key: PreAuthKey, asked: Iterable[str]) -> None:
    """Raises Refused when a client asks for tags that its key does not carry."""
    extra = set(asked) - set(key.tags)
    if extra:
        raise _not_permitted(extra, "a node that joins with a pre-auth key gets the key's tags")


def check_defined(snapshot: Snapshot, asked: Iterable[str]) -> None:
    """Raises Refused for tags that nobody could give: the client's user is to learn it before anyone is asked."""
    unknown = set(asked) - snapshot.policy.tags
    if unknown:
        raise _not_permitted(unknown, "the policy's tagOwners do not define them")


def tags_for_login(
    snapshot: Snapshot, *, user_id: int, node: Node | None, asked: Iterable[str]
) -> tuple[str, ...]:
    """What a person may have who logs in a machine and asks for these tags; raises Refused unless all of them.

    Tags may own tags, so a machine that is tagged already may have what its tags own.
    """
    wanted = set(asked)
    owner = node.id if node is not None and node.tags else None
    owns = snapshot.policy.owns_tag
    refused = {tag for tag in wanted if not owns(tag, person_id=user_id, node_id=owner)}
    if refused:
        raise _not_permitted(refused, "the policy's tagOwners do not name you")
    return plain_tags(wanted)


def set_tags(snapshot: Snapshot, moment: Moment, *, node_id: int, tags: Iterable[str]) -> Effect[Node]:
    """An administrator's choice: the node is its tags' from now on, and nobody's.

    Its key does not end any more, as no tagged node's does; one that has ended stays so. Raises Malformed for tags
    that are none or that the policy does not define, Conflict when the machine has a tagged node already.
    """
    node = own_node(snapshot, node_id)
    wanted = plain_tags(tags)
    if not wanted:
        raise Malformed("a node cannot lose all its tags: log it in again as a user to make it that user's")
    unknown = sorted(set(wanted) - snapshot.policy.tags)
    if unknown:
        raise Malformed(f"{', '.join(unknown)}: not defined in the policy's tagOwners; add it there first")
    if not node.tags:
        _check_place(snapshot, node)
    tagged = replace(node, tags=wanted, user_id=None, expiry=node.expiry if node.expired else None)
    tagged = approved(snapshot.policy, tagged)
    if tagged == node:
        return Effect(snapshot, node)
    return Effect(put_node(snapshot, tagged), tagged, (Update(tagged),), frozenset({node.id}))


def _check_place(snapshot: Snapshot, node: Node) -> None:
    for other in snapshot.nodes_on(node.machine_key):
        if other.tags:
            raise Conflict(
                f"the machine of node {node.id} already has a tagged node ({other.given_name}, number "
                f"{other.id}): delete the one that is not needed"
            )


def _not_permitted(tags: Iterable[str], why: str) -> Refused:
    shown = ", ".join(tag[:80] for tag in sorted(tags)[:TAGS_MAX])
    return Refused(f"requested tags {shown} are invalid or not permitted: {why}")
