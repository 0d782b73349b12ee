"""What we keep: users, nodes, pre-auth keys, policies and preferences, frozen and ignorant of the database.

Also the rows-to-write vocabulary (`Insert`, `Update`, `Delete`, `Advance`) in which a state step says what
must be durable before anyone is told, and the settings of a tailnet that steps and maps depend on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final

from headscale.keys import DiscoKey, MachineKey, NodeKey
from headscale.tailcfg.dns import DNSRecord
from headscale.tailcfg.hostinfo import Hostinfo, Location

Address = IPv4Address | IPv6Address
AttributeValue = str | int | float | bool

# The account under which clients see tagged nodes: nobody's, and never a row. The number is the peer's.
TAGGED_USER_ID: Final = 2147455555
TAGGED_LOGIN: Final = "tagged-devices"
TAGGED_DISPLAY: Final = "Tagged Devices"


class RegisterMethod(StrEnum):
    """How a node was let in."""

    AUTH_KEY = "authkey"
    CLI = "cli"
    OIDC = "oidc"
    CONFIG = "config"
    """Never by itself: the configuration names it (`wireguard_peers`)."""


class Role(StrEnum):
    """What a person is in the tailnet; what each may do: `state/scopes.py`. There is one owner at the most."""

    OWNER = "owner"
    ADMIN = "admin"
    NETWORK_ADMIN = "network-admin"
    AUDITOR = "auditor"
    MEMBER = "member"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account; `provider_identifier` is None for one made here (not by an identity provider).

    `groups` are those that the provider counts the person among, sorted. `sealed_refresh` is with what it can be asked
    about them again; empty for nothing.
    """

    id: int
    name: str
    display_name: str = ""
    email: str = ""
    provider: str = ""
    provider_identifier: str | None = None
    profile_pic_url: str = ""
    groups: tuple[str, ...] = ()
    sealed_refresh: bytes = field(default=b"", repr=False)
    role: Role = Role.MEMBER
    created_at: datetime

    @property
    def login(self) -> str:
        """What people and clients read as this user's name."""
        return self.email or self.name or self.provider_identifier or str(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreAuthKey:
    """A credential for joining without a browser; only a hash of its secret is kept.

    Either `user_id` owns the nodes that join with it, or `tags` do (then `user_id` is who made it). Nodes of a
    `preauthorized` one need no approval where the tailnet asks for it. One that was `revoked` works no more. `spent_at`
    is when a single-use one was `used`; None for one that was spent before that was kept.
    """

    id: int
    prefix: str
    secret_hash: bytes = field(repr=False)
    user_id: int | None
    tags: tuple[str, ...] = ()
    reusable: bool = False
    ephemeral: bool = False
    used: bool = False
    preauthorized: bool = False
    expiration: datetime | None = None
    description: str = ""
    revoked: datetime | None = None
    spent_at: datetime | None = None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A credential of programs; only a hash of its secret is kept.

    It may do what its user may at that moment, everything without one (`user_id` None). `last_seen` is when it was used
    last, to the minute; None for never.
    """

    id: int
    prefix: str
    secret_hash: bytes = field(repr=False)
    user_id: int | None = None
    expiration: datetime | None
    created_at: datetime
    last_seen: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where events are sent. The secret signs them, so that it is kept itself: sealed with a key of the server's.

    `provider` is the chat service whose form messages have, empty for events as they are; `creator` is who made it.
    """

    id: int
    url: str
    provider: str
    subscriptions: tuple[str, ...]
    sealed_secret: bytes = field(repr=False)
    creator: str
    created_at: datetime
    modified_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """A program that gets itself access tokens for some scopes; only a hash of its secret is kept.

    `prefix` is its id as everybody reads it. Keys that it makes, and devices that it tags, have its `tags`, or tags
    that these own. `updated_at` is None until it is changed.
    """

    id: int
    prefix: str
    secret_hash: bytes = field(repr=False)
    scopes: tuple[str, ...]
    tags: tuple[str, ...] = ()
    description: str = ""
    created_at: datetime
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What an OAuth client shows with its requests; only a hash of its secret is kept.

    `tags` are those that it may give, if not `any_tag`.
    """

    id: int
    prefix: str
    secret_hash: bytes = field(repr=False)
    client_id: int
    scopes: tuple[str, ...]
    tags: tuple[str, ...]
    any_tag: bool
    expiration: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine in the tailnet: owned by a user, or by its tags and then by nobody.

    One that is not `authorized` waits for an administrator: it sees nobody, and nobody sees it.

    `expired` and `ending` (its key ends soon) are flags and not comparisons with the clock, so that a node's rendering
    changes only with the node; they are not kept. `online` is, so that a restart of the server takes nobody away who is
    about to come back. `exit_dns` are the resolvers for those who use a WireGuard-only node as their exit.
    """

    id: int
    machine_key: MachineKey
    node_key: NodeKey
    disco_key: DiscoKey
    hostname: str
    given_name: str
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    user_id: int | None
    tags: tuple[str, ...] = ()
    hostinfo: Hostinfo = field(default_factory=Hostinfo)
    endpoints: tuple[str, ...] = ()
    ephemeral: bool = False
    authorized: bool = True
    register_method: RegisterMethod = RegisterMethod.AUTH_KEY
    auth_key_id: int | None = None
    approved_routes: tuple[str, ...] = ()
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    expiry: datetime | None = None
    last_seen: datetime | None = None
    created_at: datetime
    online: bool = False
    expired: bool = False
    ending: bool = False
    cap_version: int = 0
    exit_dns: tuple[str, ...] = ()

    @property
    def is_wireguard_only(self) -> bool:
        """Whether a plain WireGuard server stands behind it, and no client."""
        return self.register_method is RegisterMethod.CONFIG

    @property
    def addresses(self) -> tuple[Address, ...]:
        """IPv4 first: tailscale-rs reads them by position."""
        return tuple(address for address in (self.ipv4, self.ipv6) if address is not None)

    @property
    def home_derp(self) -> int:
        """The relay region where peers find this node; 0 while the client has not measured one."""
        return self.hostinfo.net_info.preferred_derp if self.hostinfo.net_info else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WireGuardPeer:
    """A plain WireGuard server as the configuration names it. `endpoints` are `address:port`, `dns` IP addresses."""

    name: str
    public_key: NodeKey
    endpoints: tuple[str, ...]
    tags: tuple[str, ...]
    routes: tuple[str, ...]
    dns: tuple[str, ...] = ()
    location: Location | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyText:
    """A policy as it was set, byte for byte; `id` is 0 for one that is kept in a file and not by us."""

    id: int
    text: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of one record: `target` says which ("node 5"), `name` is what people call it.

    Of a new record there is no `before`, of a deleted one no `after`; otherwise both have the fields that differ. Their
    values are as JSON has them.
    """

    target: str
    name: str = ""
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """Who did what, and what it changed; `told_at` is when, as the actor's own clock had it."""

    id: int
    at: datetime
    actor: str
    action: str
    details: str = ""
    told_at: datetime | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What administrators chose where the operator's configuration says nothing; None where they did not either.

    `node_expiry_days` is 0 for keys that never end.
    """

    magic_dns: bool | None = None
    override_local_dns: bool | None = None
    nameservers: tuple[str, ...] | None = None
    split: Mapping[str, tuple[str, ...]] | None = None
    search_domains: tuple[str, ...] | None = None
    node_expiry_days: int | None = None
    auto_update: bool | None = None


NO_CHOICES: Final = Choices()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What administrators decide while the server runs; there is one row of it."""

    id: int = 1
    device_approval: bool = False
    choices: Choices = NO_CHOICES


@dataclass(frozen=True, slots=True, kw_only=True)
class Elections:
    """Who won the routes that several routers have; there is one row of it. `held` as state/elections.py writes it."""

    id: int = 1
    held: tuple[str, ...] = ()


# What nobody has decided yet.
NO_PREFERENCES: Final = Preferences()


class Counter(StrEnum):
    """What ids are handed out for. They only grow, so no id is ever used twice."""

    USER = "user"
    NODE = "node"
    PRE_AUTH_KEY = "pre_auth_key"
    POLICY = "policy"
    AUDIT = "audit"
    API_KEY = "api_key"
    WEBHOOK = "webhook"
    OAUTH_CLIENT = "oauth_client"
    ACCESS_TOKEN = "access_token"  # noqa: S105  (the name of a counter)


Record = (
    User
    | PreAuthKey
    | ApiKey
    | Webhook
    | OAuthClient
    | AccessToken
    | Node
    | PolicyText
    | Preferences
    | Elections
    | AuditEvent
)


@dataclass(frozen=True, slots=True)
class Insert:
    """A new row."""

    record: Record


@dataclass(frozen=True, slots=True)
class Update:
    """A row that must be there still."""

    record: Record


@dataclass(frozen=True, slots=True)
class Delete:
    """A row that goes."""

    record: Record


@dataclass(frozen=True, slots=True)
class Advance:
    """The last id that was handed out."""

    counter: Counter
    value: int


Write = Insert | Update | Delete | Advance


class Allocation(StrEnum):
    """How addresses are picked."""

    SEQUENTIAL = "sequential"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class DNSSettings:
    """What the operator wants clients to resolve, and where. `certificates`: nodes may get some for their names."""

    magic_dns: bool = True
    base_domain: str = ""
    override_local_dns: bool = False
    nameservers: tuple[str, ...] = ()
    split: dict[str, tuple[str, ...]] = field(default_factory=dict)
    search_domains: tuple[str, ...] = ()
    extra_records: tuple[DNSRecord, ...] = ()
    certificates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleMapping:
    """Which groups of an identity provider give its people a role. `issuer` is how their identifiers begin.

    `groups` has the highest role first; `key` is where the operator wrote it.
    """

    issuer: str
    key: str
    groups: tuple[tuple[Role, tuple[str, ...]], ...]


# As long as the Go headscale's.
REVOKED_RETENTION: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class TailnetSettings:
    """What steps and maps need to know of the configuration.

    `device_approval` as the operator set it; None leaves it to administrators (`Preferences`). `latest_client` is the
    release (like 1.102.4) below which clients are told to update; empty when the operator names none. `written` are
    the keys of the configuration that the operator gave a value, of those that administrators may choose otherwise.
    `revoked_retention` is how long a pre-auth key that was revoked is still shown, None for ever.
    `probe_interval` is how often routers that stand in for each other are asked whether they answer (zero: never), and
    `probe_timeout` how long that may take. `group_issuers` are the identity providers whose groups count as groups of
    the policy, `role_mappings` those that decide the roles of their people.
    """

    server_url: str
    prefix_v4: IPv4Network | None = IPv4Network("100.64.0.0/10")
    prefix_v6: IPv6Network | None = IPv6Network("fd7a:115c:a1e0::/48")
    allocation: Allocation = Allocation.SEQUENTIAL
    node_expiry: timedelta | None = None
    device_approval: bool | None = None
    ephemeral_timeout: timedelta = timedelta(minutes=30)
    revoked_retention: timedelta | None = REVOKED_RETENTION
    probe_interval: timedelta = timedelta(seconds=10)
    probe_timeout: timedelta = timedelta(seconds=5)
    dns: DNSSettings = field(default_factory=DNSSettings)
    taildrop: bool = True
    auto_update: bool = False
    log_tail: bool = False
    latest_client: str = ""
    written: frozenset[str] = frozenset()
    group_issuers: tuple[str, ...] = ()
    role_mappings: tuple[RoleMapping, ...] = ()

    @property
    def expiry_warning(self) -> timedelta:
        """How long before its key ends a node's user is told: a week, less where keys live for short."""
        week = timedelta(days=7)
        return min(week, self.node_expiry / 4) if self.node_expiry is not None else timedelta(days=1)
