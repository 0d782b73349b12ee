"""What a caller may hand on: no scope and no tag beyond its own."""

from collections.abc import Iterable

from headscale.api.v2.endpoints import Call
from headscale.errors import Malformed, Refused
from headscale.state.tags import plain_tags


def check_tags(call: Call[object], tags: Iterable[str]) -> tuple[str, ...]:
    """The tags in order. Raises Malformed for what is none, Refused for one that the caller may not give.

    Who may do everything gives any. A token gives tags that the policy defines, and that it holds or that a tag owns
    which it holds.
    """
    wanted = plain_tags(tags)
    if call.grant.is_everything:
        return wanted
    policy, held = call.snapshot.policy, call.grant.tags
    unknown = [tag for tag in wanted if tag not in policy.tags]
    if unknown:
        raise Malformed(f"{', '.join(unknown)}: not defined in the policy's tagOwners; add it there first")
    beyond = [tag for tag in wanted if tag not in held and not policy.owns_tag(tag, tags=held)]
    if beyond:
        raise Refused(f"{', '.join(beyond)}: the access token has no such tag, nor one that owns it")
    return wanted


def check_scopes(call: Call[object], scopes: Iterable[str]) -> None:
    """Raises Refused for scopes that the caller does not have itself."""
    beyond = sorted(scope for scope in set(scopes) if not call.grant.allows(scope))
    if beyond:
        raise Refused(f"{', '.join(scope[:80] for scope in beyond)}: the access token lacks this scope")
