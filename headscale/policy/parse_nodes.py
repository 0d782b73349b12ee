"""Reading `autoApprovers` and `nodeAttrs`."""

from ipaddress import IPv4Network, ip_network
from typing import Final

from headscale.policy.aliases import (
    ROLES,
    Alias,
    Autogroup,
    GroupName,
    Names,
    TagName,
    UserDomain,
    UserName,
    read_addresses,
    read_alias,
)
from headscale.policy.cursor import Cursor
from headscale.policy.document import Approver, NodeAttributes
from headscale.policy.parse_access import read_capabilities
from headscale.policy.subjects import Network

_APPROVERS: Final = ("routes", "exitNode")
_NO_SERVICES: Final = {"services": "services are not supported"}
_ATTRIBUTES: Final = ("target", "attr", "ipPool", "app")
# The vendor's own that a node may have: app connectors read theirs.
NODE_CAPABILITIES: Final = frozenset({"tailscale.com/app-connectors"})
# Where IPv4 addresses of nodes come from, and the parts of it that mean something else to clients.
POOL_RANGE: Final = IPv4Network("100.64.0.0/10")
RESERVED: Final = (
    IPv4Network("100.100.0.0/24"),
    IPv4Network("100.100.100.0/24"),
    IPv4Network("100.115.92.0/23"),
)


def read_approvers(cursor: Cursor, names: Names) -> tuple[tuple[Approver, ...], tuple[Alias, ...]]:
    """`autoApprovers`: who has which routes approved, and who may be an exit node."""
    parts = cursor.fields(_APPROVERS, _NO_SERVICES)
    routes = []
    for key, owners in parts["routes"].members() if "routes" in parts else ():
        try:
            route = ip_network(key.text.strip(), strict=False)
            read_addresses(key.text)
        except ValueError:
            key.complain(f'"{key.text}" is not a prefix such as 10.0.0.0/8')
            continue
        routes.append(Approver(route, _owners(owners, names)))
    return tuple(routes), _owners(parts["exitNode"], names) if "exitNode" in parts else ()


def _owners(cursor: Cursor, names: Names) -> tuple[Alias, ...]:
    return tuple(cursor.read_all(lambda text: _approver(text, names)))


def _approver(text: str, names: Names) -> Alias:
    alias = read_alias(text, names)
    group = isinstance(alias, Autogroup) and alias.name in ("member", "tagged", *ROLES)
    if group or isinstance(alias, UserName | UserDomain | GroupName | TagName):
        return alias
    raise ValueError(f'"{alias.text}" cannot approve routes: only users, groups, tags and roles can')


def read_node_attributes(cursor: Cursor, names: Names) -> tuple[NodeAttributes, ...]:
    """All of `nodeAttrs`."""
    found = []
    for item in cursor.items():
        parts = item.fields(_ATTRIBUTES)
        found.append(
            NodeAttributes(
                item.place,
                _targets(parts["target"], names) if "target" in parts else (),
                _attributes(parts["attr"]) if "attr" in parts else (),
                _pools(parts["ipPool"]) if "ipPool" in parts else (),
                read_capabilities(parts["app"], vendor=NODE_CAPABILITIES) if "app" in parts else {},
            )
        )
    return tuple(found)


def _targets(cursor: Cursor, names: Names) -> tuple[Alias, ...]:
    return tuple(cursor.read_all(lambda text: _attribute_target(text, names)))


def _attribute_target(text: str, names: Names) -> Alias:
    alias = read_alias(text, names)
    if isinstance(alias, Autogroup) and alias.name not in ("member", "tagged", *ROLES):
        raise ValueError(f'"{alias.text}" cannot be a target of nodeAttrs')
    return alias


def _attributes(cursor: Cursor) -> tuple[str, ...]:
    return tuple(cursor.read_all(_attribute))


def _attribute(text: str) -> str:
    if not text.strip() or not text.isprintable() or '"' in text or "\\" in text:
        raise ValueError("an attribute is a name without quotes, backslashes and control characters")
    return text.strip()


def _pools(cursor: Cursor) -> tuple[Network, ...]:
    return tuple(cursor.read_all(_pool))


def _pool(text: str) -> Network:
    try:
        pool = IPv4Network(text.strip())
    except ValueError:
        raise ValueError(f"IPPool({text}): not an IPv4 prefix such as 100.81.0.0/16") from None
    if any(pool.overlaps(reserved) for reserved in RESERVED):
        raise ValueError(f"IPPool({pool}): network within reserved range")
    if not pool.subnet_of(POOL_RANGE):
        raise ValueError(f"IPPool({pool}): network not within {POOL_RANGE}")
    return pool
