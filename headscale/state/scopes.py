"""What an OAuth client or token may do: scopes, with the names that the hosted service gives them.

| held | allows |
|---|---|
| `all` | everything |
| `all:read` | every scope that ends in `:read` |
| `x` | `x` and `x:read` |
| `x:read` | `x:read` |

A scope that nobody here knows may be held all the same; it allows itself, and nothing asks for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

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
ACCOUNT: Final = "account_settings"
LOG_STREAMING: Final = "log_streaming"
_READ: Final = ":read"
_WRITABLE: Final = (
    *(
        ALL,
        ACCOUNT,
        "api_access_tokens",
        AUTH_KEYS,
        DEVICES,
        DEVICE_ATTRIBUTES,
        DEVICE_ROUTES,
        "device_invites",
    ),
    *(DNS, SETTINGS, "federated_keys", LOG_STREAMING, "networking_settings", OAUTH_KEYS, POLICY, "services"),
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


@dataclass(frozen=True, slots=True)
class Grant:
    """What one caller may do; `tags` are those that it may give to devices and keys, if not `any_tag`."""

    scopes: frozenset[str]
    tags: frozenset[str] = frozenset()
    any_tag: bool = False

    def allows(self, *needed: str) -> bool:
        """Whether one of these scopes is granted."""
        return any(allows(self.scopes, scope) for scope in needed)

    def may_hand_on(self, scope: str) -> bool:
        """Whether somebody else may be given this scope. With `all` goes every tag, so it takes both."""
        return self.allows(scope) and (scope != ALL or self.any_tag)


# Of administrators: with an API key, or on the Unix socket.
EVERYTHING: Final = Grant(frozenset({ALL}), any_tag=True)
