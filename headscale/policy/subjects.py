"""Nodes and people as the policy sees them: only what a rule can depend on."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Network = IPv4Network | IPv6Network

EXIT_ROUTES: Final = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


@dataclass(frozen=True, slots=True)
class Person:
    """A user. `provider_identifier` is the identity provider's name for them; `roles` such as `admin`.

    `groups` are those of the provider that count here as groups of the policy, without `group:`.
    """

    id: int
    name: str
    email: str = ""
    provider_identifier: str = ""
    roles: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Subject:
    """A node. `user_id` is None for a tagged one. `routes` are in force: advertised and approved."""

    id: int
    user_id: int | None
    tags: tuple[str, ...] = ()
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    routes: tuple[Network, ...] = ()

    @property
    def is_exit_node(self) -> bool:
        """Whether an exit route is in force."""
        return any(route in EXIT_ROUTES for route in self.routes)
