"""Nodes and users as the policy is shown them."""

from headscale.policy.subjects import Person, Subject
from headscale.records import Node, Role, TailnetSettings, User
from headscale.state.routes import in_force


def admitted(node: Node) -> Subject | None:
    """The node as the policy knows it; None for one that still waits for approval, whom the policy does not know."""
    return subject_of(node) if node.authorized else None


def subject_of(node: Node) -> Subject:
    """What rules can depend on of a node."""
    return Subject(
        id=node.id,
        user_id=node.user_id,
        tags=node.tags,
        ipv4=node.ipv4,
        ipv6=node.ipv6,
        routes=in_force(node),
    )


def person_of(settings: TailnetSettings, user: User) -> Person:
    """What rules can depend on of a user: their provider's groups where the operator lets those count in the policy.

    That they are a member says nothing of them: `autogroup:member` is everybody.
    """
    counts = any(
        (user.provider_identifier or "").startswith(f"{issuer}/") for issuer in settings.group_issuers
    )
    return Person(
        id=user.id,
        name=user.name,
        email=user.email,
        provider_identifier=user.provider_identifier or "",
        roles=frozenset({user.role.value}) if user.role is not Role.MEMBER else frozenset(),
        groups=frozenset(user.groups) if counts else frozenset(),
    )


def is_same_subject(old: Node, new: Node) -> bool:
    """Whether the policy cannot tell the two apart, looked at without working out routes."""
    return _decisive(old) == _decisive(new)


def _decisive(node: Node) -> tuple[object, ...]:
    return (
        node.authorized,
        node.user_id,
        node.tags,
        node.ipv4,
        node.ipv6,
        node.approved_routes,
        node.hostinfo.routable_ips,
    )
