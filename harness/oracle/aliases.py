"""What the words of a policy stand for: which nodes, which addresses, seen as a source or from a receiver."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from harness.oracle.text import INTERNET, SELF, AppGrant, Opening, Policy
from harness.oracle.values import TAILNET, Address, OracleNode, OracleUser, Prefix, on_internet, single

MEMBER = "autogroup:member"
TAGGED = "autogroup:tagged"
DANGER_ALL = "autogroup:danger-all"
USERS_OF_DOMAIN = "user:*@"  # recording grant-k21


@dataclass(frozen=True, slots=True)
class Tailnet:
    """The policy and those whom it is about."""

    policy: Policy
    users: Sequence[OracleUser]
    nodes: Sequence[OracleNode]


def is_source(tailnet: Tailnet, alias: str, place: Prefix) -> bool:
    """Whether the alias, as a source, includes some address of the place."""
    if alias == DANGER_ALL:
        return True
    if alias == "*":
        subnets = [route for node in tailnet.nodes for route in node.subnets]
        return any(place.overlaps(each) for each in (*TAILNET, *subnets))
    if (prefix := prefix_of(tailnet.policy, alias)) is not None:
        return place.overlaps(prefix)
    named = named_nodes(tailnet, alias)
    return any(place.overlaps(single(address)) for node in named for address in node.addresses)


def concerns(tailnet: Tailnet, rule: Opening | AppGrant, receiver: OracleNode, version: int) -> bool:
    """Whether the rule's destination has something of the receiver's in this family: of itself or behind it.

    Routes count when they are approved; exit routes count for what lies on the internet and nothing else.
    `autogroup:self` is left to `is_self`, for it depends on the sender.
    """
    alias = rule.destination
    if rule.via:
        return _concerns_via(tailnet, rule, receiver, version)
    if alias == "*":
        return receiver.is_exit_node or any(place.version == version for place in receiver.places)
    if alias == INTERNET:
        return receiver.is_exit_node
    if (prefix := prefix_of(tailnet.policy, alias)) is not None:
        # Not recorded: a whole destination on the internet goes to exit nodes, as in the peer implementation.
        through_exit = receiver.is_exit_node and on_internet(prefix)
        return prefix.version == version and (through_exit or _has(receiver, prefix))
    named = [address for node in named_nodes(tailnet, alias) for address in node.addresses]
    return any(address.version == version and _has(receiver, single(address)) for address in named)


def _concerns_via(tailnet: Tailnet, rule: Opening | AppGrant, receiver: OracleNode, version: int) -> bool:
    """Via grants go to the routers named, if they have something of the destination: recordings via-grant-*."""
    prefix = prefix_of(tailnet.policy, rule.destination)
    routers = [node for tag in rule.via for node in tagged_nodes(tailnet.policy, tailnet.nodes, tag)]
    if receiver not in routers:
        return False
    if prefix is None:
        return receiver.is_exit_node
    return prefix.version == version and any(route.overlaps(prefix) for route in receiver.subnets)


def is_destination(tailnet: Tailnet, opening: Opening, address: Address) -> bool:
    """Whether the opening's destination includes this address, whoever has it."""
    alias = opening.destination
    if alias == "*":
        return True
    if alias == INTERNET:
        return on_internet(single(address))
    if (prefix := prefix_of(tailnet.policy, alias)) is not None:
        return address in prefix
    return any(address in node.addresses for node in named_nodes(tailnet, alias))


def is_self(tailnet: Tailnet, sources: Sequence[str], receiver: OracleNode, sender: OracleNode) -> bool:
    """Whether both are untagged nodes of one user whom the sources name. `*` names every user."""
    if receiver.tags or sender.tags or receiver.user_id != sender.user_id:
        return False
    return any(alias == "*" or sender in named_nodes(tailnet, alias) for alias in sources)


def _has(node: OracleNode, prefix: Prefix) -> bool:
    own = any(address in prefix for address in node.addresses)
    return own or any(route.overlaps(prefix) for route in node.subnets)


def prefix_of(policy: Policy, alias: str) -> Prefix | None:
    """The prefix that a host name or literal stands for: exactly that, not another address of the same node."""
    if alias in policy.get("hosts", {}):
        return ip_network(policy["hosts"][alias])
    if alias == "*" or "@" in alias or alias.startswith(("tag:", "group:", "autogroup:")):
        return None
    try:
        return ip_network(alias)
    except ValueError:
        return None


def named_nodes(tailnet: Tailnet, alias: str) -> list[OracleNode]:
    """The nodes that a user, group, tag or autogroup names. Raises ValueError for any other word."""
    if alias.startswith("tag:"):
        return tagged_nodes(tailnet.policy, tailnet.nodes, alias)
    if alias == TAGGED:
        return [node for node in tailnet.nodes if node.tags]
    untagged = [node for node in tailnet.nodes if not node.tags]
    if alias == MEMBER:
        return untagged
    return [node for node in untagged if node.user_id in _user_ids(tailnet, alias)]


def tagged_nodes(policy: Policy, nodes: Sequence[OracleNode], tag: str) -> list[OracleNode]:
    """The nodes with a tag. Raises ValueError for a tag that nobody owns."""
    if tag not in policy.get("tagOwners", {}):
        raise ValueError(f"tag not found: {tag!r}")
    return [node for node in nodes if tag in node.tags]


def _user_ids(tailnet: Tailnet, alias: str) -> set[int]:
    if alias.startswith(USERS_OF_DOMAIN):
        domain = alias.removeprefix(USERS_OF_DOMAIN)
        return {user.id for user in tailnet.users if user.email.endswith("@" + domain)}
    if alias.startswith("group:"):
        if alias not in tailnet.policy.get("groups", {}):
            raise ValueError(f"group not found: {alias!r}")
        return {number for member in tailnet.policy["groups"][alias] for number in _user(tailnet, member)}
    return _user(tailnet, alias)


def _user(tailnet: Tailnet, text: str) -> set[int]:
    """The user of this name, if there is one. The provider's identity wins over e-mail address and login name."""
    if "@" not in text[1:] or text.startswith(("group:", "tag:", "autogroup:", "user:", "localpart:")):
        raise ValueError(f"not an alias that we understand: {text!r}")
    wanted = text.strip().removesuffix("@")
    found = {user.id for user in tailnet.users if user.provider_id and user.provider_id == wanted}
    found = found or {user.id for user in tailnet.users if wanted in (user.email, user.name)}
    if len(found) > 1:
        raise ValueError(f"several users are called {text!r}")
    return found


def check_words(tailnet: Tailnet, rule: Opening | AppGrant) -> None:
    """Raise ValueError unless every word of the rule is understood on the side where it stands."""
    for alias in rule.sources:
        if alias in (SELF, INTERNET):
            raise ValueError(f"{alias} is not a source")
        if rule.destination == SELF:
            _check_self_source(tailnet, alias)
        elif alias not in ("*", DANGER_ALL) and prefix_of(tailnet.policy, alias) is None:
            named_nodes(tailnet, alias)
    is_place = rule.destination == INTERNET or prefix_of(tailnet.policy, rule.destination) is not None
    if rule.via and not is_place:
        raise ValueError(f"via needs a prefix or {INTERNET} as destination, not {rule.destination!r}")
    if rule.destination not in ("*", SELF) and not is_place:
        named_nodes(tailnet, rule.destination)
    for tag in rule.via:
        tagged_nodes(tailnet.policy, tailnet.nodes, tag)


def _check_self_source(tailnet: Tailnet, alias: str) -> None:
    """`autogroup:self` is for users, their groups, all members, and in acls for `*`."""
    is_place = alias == DANGER_ALL or prefix_of(tailnet.policy, alias) is not None
    if is_place or alias == TAGGED or alias.startswith("tag:"):
        raise ValueError(f"{SELF} is for users and groups, not for {alias!r}")
    if alias != "*":
        named_nodes(tailnet, alias)
