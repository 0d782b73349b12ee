"""What an OAuth client, a token, or a person may do: scopes, with the names that the hosted service gives them.

| held | allows |
|---|---|
| `all` | everything |
| `all:read` | every scope that ends in `:read` |
| `x` | `x` and `x:read` |
| `x:read` | `x:read` |

A scope that nobody here knows may be held all the same; it allows itself, and nothing asks for it.

What a person may follows from their role alone (`ROLE_SCOPES`), and of their own devices everybody may read, log out
and remove (`OWN_SCOPES`). Only the owner makes somebody else the owner, and keys for others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from headscale.errors import Refused
from headscale.records import Node, Role, User

ALL: Final = "all"
AUTH_KEYS: Final = "auth_keys"
DEVICES: Final = "devices:core"
DEVICE_ATTRIBUTES: Final = "devices:posture_attributes"
DEVICE_ROUTES: Final = "devices:routes"
OAUTH_KEYS: Final = "oauth_keys"
USERS: Final = "users"
POLICY: Final = "policy_file"
DNS: Final = "dns"
SETTINGS: Final = "feature_settings"
WEBHOOKS: Final = "webhooks"
API_KEYS: Final = "api_access_tokens"
NETWORKING: Final = "networking_settings"
ACCOUNT: Final = "account_settings"
LOG_STREAMING: Final = "log_streaming"
_READ: Final = ":read"
_WRITABLE: Final = (
    *(
        ALL,
        ACCOUNT,
        API_KEYS,
        AUTH_KEYS,
        DEVICES,
        DEVICE_ATTRIBUTES,
        DEVICE_ROUTES,
        "device_invites",
    ),
    *(DNS, SETTINGS, "federated_keys", LOG_STREAMING, NETWORKING, OAUTH_KEYS, POLICY, "services"),
    *("user_invites", USERS, WEBHOOKS),
)


def read(scope: str) -> str:
    """The twin that may only read."""
    return f"{scope}{_READ}"


LOGS_CONFIGURATION: Final = "logs:configuration:read"
LOGS_NETWORK: Final = "logs:network:read"
# Every scope that has a meaning.
KNOWN: Final = frozenset(
    {*_WRITABLE, *map(read, _WRITABLE), LOGS_CONFIGURATION, LOGS_NETWORK},
)


def allows(held: Iterable[str], needed: str) -> bool:
    """Whether somebody with these scopes may do what needs this one."""
    held = frozenset(held)
    if ALL in held or needed in held:
        return True
    return needed.endswith(_READ) and (read(ALL) in held or needed.removesuffix(_READ) in held)


ROLE_SCOPES: Final[Mapping[Role, frozenset[str]]] = MappingProxyType(
    {
        Role.OWNER: frozenset({ALL}),
        Role.ADMIN: frozenset({ALL}),
        Role.NETWORK_ADMIN: frozenset({read(ALL), POLICY, DNS, DEVICE_ROUTES, NETWORKING}),
        Role.AUDITOR: frozenset({read(ALL)}),
        Role.MEMBER: frozenset(),
    }
)
# Of their own devices, on the routes that are open to owners.
OWN_SCOPES: Final = frozenset({DEVICES})


@dataclass(frozen=True, slots=True)
class Grant:
    """What one caller may do; `tags` are those that it may give to devices and keys, if not `any_tag`.

    `person` is the id of the user whose it is, None for nobody's in particular, and `holder` what has the scopes, for
    messages. `unbound`: it does not depend on anybody's role or client.
    """

    scopes: frozenset[str]
    tags: frozenset[str] = frozenset()
    any_tag: bool = False
    person: int | None = None
    holder: str = "the access token"
    unbound: bool = False

    def allows(self, *needed: str) -> bool:
        """Whether one of these scopes is granted."""
        return any(allows(self.scopes, scope) for scope in needed)

    def allows_own(self, *needed: str) -> bool:
        """Whether one of these scopes is granted for the person's own devices."""
        return self.person is not None and any(allows(OWN_SCOPES, scope) for scope in needed)

    def sees(self, node: Node) -> bool:
        """Whether the node is among those that a list shows."""
        return self.allows(read(DEVICES)) or (self.person is not None and node.user_id == self.person)

    def may_hand_on(self, scope: str) -> bool:
        """Whether somebody else may be given this scope. With `all` goes every tag, so it takes both."""
        return self.allows(scope) and (scope != ALL or self.any_tag)

    def check(self, *needed: str, node: Node | None = None) -> None:
        """Raises Refused unless one of these scopes is granted, or the node is the person's own and that is enough."""
        if self.allows(*needed):
            return
        if node is not None and self.allows_own(*needed) and node.user_id == self.person:
            return
        raise Refused(f"this needs the scope {' or '.join(needed)}, which {self.holder} lacks")


# Of administrators: with an API key that is nobody's, or on the Unix socket.
EVERYTHING: Final = Grant(frozenset({ALL}), any_tag=True, holder="the caller", unbound=True)


def grant_of_person(user: User) -> Grant:
    """What this person may do now."""
    scopes = ROLE_SCOPES[user.role]
    return Grant(scopes, any_tag=ALL in scopes, person=user.id, holder=f"the role {user.role.value}")
