"""What a caller may hand on: no scope and no tag beyond its own."""

from collections.abc import Iterable

from headscale.api.v2.endpoints import Call
from headscale.errors import Malformed, Refused
from headscale.state.oauth import may_give
from headscale.state.tags import plain_tags


def check_tags(call: Call[object], tags: Iterable[str]) -> tuple[str, ...]:
    """The tags in order. Raises Malformed for what is none, Refused for one that the caller may not give.

    Who may do everything gives any. A token gives tags that the policy defines, and that it holds or that a tag owns
    which it holds.
    """
    wanted = plain_tags(tags)
    policy = call.snapshot.policy
    if call.grant.any_tag:
        return wanted
    unknown = [tag for tag in wanted if tag not in policy.tags]
    if unknown:
        raise Malformed(f"{', '.join(unknown)}: not defined in the policy's tagOwners; add it there first")
    beyond = [tag for tag in wanted if not may_give(policy, call.grant, tag)]
    if beyond:
        raise Refused(f"{', '.join(beyond)}: {call.grant.holder} has no such tag, nor one that owns it")
    return wanted


def check_scopes(call: Call[object], scopes: Iterable[str]) -> None:
    """Raises Refused for scopes that the caller does not have itself."""
    beyond = sorted(scope for scope in set(scopes) if not call.grant.may_hand_on(scope))
    if beyond:
        named = ", ".join(scope[:80] for scope in beyond)
        raise Refused(f"{named}: {call.grant.holder} lacks this scope, or the tags that go with it")
