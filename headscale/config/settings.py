"""What the operator decided, as frozen values. How a file and the environment become one: `headscale.config.file`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from headscale.proxies import Network
from headscale.records import Role, TailnetSettings, WireGuardPeer

EMBEDDED_REGION_ID: Final = 999
# How long a login waits for somebody to vouch, and how many do at once.
LOGIN_LIFETIME: Final = timedelta(minutes=15)
LOGINS_MAX: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where a socket listens; an empty host is every address."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SqliteSettings:
    """How a file keeps its journal: in a write-ahead log that is folded into it once it has so many pages (0: when the
    server stops), or in a rollback journal."""

    write_ahead_log: bool = True
    checkpoint_pages: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """A PostgreSQL database. Without a name, user, port or password libpq's variables and defaults say which.

    `host` may be the folder of a Unix socket. `ssl` is libpq's sslmode.
    """

    host: str = ""
    port: int = 0
    name: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    ssl: str = "prefer"

    @property
    def shown(self) -> str:
        """For messages: everything but the password."""
        who = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"postgresql://{who}{self.host}{port}/{self.name}"


class Challenge(StrEnum):
    """How an authority is shown that a name is ours (RFC 8555, RFC 8737)."""

    HTTP = "http-01"
    TLS_ALPN = "tls-alpn-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class ACMESettings:
    """A certificate of an authority's for the main listener.

    `listen` is where HTTP-01 is answered, which the authority asks at port 80; `cache` a folder.
    """

    hostname: str
    directory: str
    email: str
    cache: Path
    challenge: Challenge
    listen: Listen


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFiles:
    """The server's certificate chain and key, PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedDERP:
    """The relay inside the server.

    On the main listener when that has a certificate; else on `tls_listen` with a self-signed one that clients
    are told to pin. `adds_region`: clients are told of it without the operator's own map.
    """

    key_path: Path
    region_id: int = EMBEDDED_REGION_ID
    region_code: str = "headscale"
    region_name: str = "headscale embedded relay"
    verify_clients: bool = True
    stun_listen: Listen = Listen(host="", port=3478)
    tls_listen: Listen = Listen(host="", port=8443)
    tls_dir: Path
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    adds_region: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DerpSources:
    """Maps of other relays. `frequency` None: each URL is fetched once in the life of the server."""

    urls: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    frequency: timedelta | None = None


class PolicyMode(StrEnum):
    """Where the policy is kept and who changes it: a file and the operator, or the database and administrators."""

    FILE = "file"
    DATABASE = "database"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """Where the policy comes from. In file mode without a path there is none."""

    mode: PolicyMode = PolicyMode.DATABASE
    path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DNSUpdates:
    """A nameserver that takes records by RFC 2136, signed with a TSIG key (RFC 8945).

    `zone` has no final dot. `tsig_secret` is empty when the file that holds it may not be read by this process.
    """

    host: str
    port: int
    zone: str
    tsig_name: str
    tsig_algorithm: str
    tsig_secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DNSCommand:
    """A program of the operator's that is told of each record; `command` is the program and its first arguments."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """How records get into the public DNS by which nodes prove their names to a certificate authority (ACME dns-01).

    `timeout` is what one record may take; `record_lifetime` how long one stays.
    """

    backend: DNSUpdates | DNSCommand
    timeout: timedelta
    record_lifetime: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class OIDCProvider:
    """An identity provider (OpenID Connect), and whom of its people the operator lets in.

    `name` stands in addresses and is shown where there are several. `groups_claim` is the path of claims to a person's
    groups; `groups_in_policy` makes them members of the policy's groups of the same names. `roles` are the groups that
    give a role, the highest first; None leaves roles to administrators. `expiry_from_token`: a node's key ends when the
    ID token does. `recheck` is how often the provider is asked again about people who are in;
    None for never. `must_be_there`: the server starts only when the provider answers.
    """

    name: str
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    extra_params: Mapping[str, str] = field(default_factory=dict)
    allowed_domains: tuple[str, ...] = ()
    allowed_users: tuple[str, ...] = ()
    allowed_groups: tuple[str, ...] = ()
    email_verified_required: bool = True
    expiry_from_token: bool = False
    groups_claim: tuple[str, ...] = ("groups",)
    groups_in_policy: bool = False
    roles: tuple[tuple[Role, tuple[str, ...]], ...] | None = None
    recheck: timedelta | None = None
    must_be_there: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A complete configuration. `later` names keys that are set but whose feature this version lacks.

    `postgres`: the records are there, and not in the file at `sqlite_path`. `metrics_listen` is where metrics and debug
    pages are served, None for nowhere; `metrics_per_node`: with series for each node.
    """

    source: Path | None
    data_dir: Path
    listen: Listen
    metrics_listen: Listen | None = None
    metrics_per_node: bool = True
    trusted_proxies: tuple[Network, ...] = ()
    tls: TLSFiles | None = None
    acme: ACMESettings | None = None
    noise_key_path: Path
    sqlite_path: Path
    sqlite: SqliteSettings = SqliteSettings()
    postgres: PostgresSettings | None = None
    logs_statements: bool = False
    unix_socket: Path
    unix_socket_mode: int = 0o770
    derp: EmbeddedDERP | None = None
    derp_sources: DerpSources = DerpSources()
    tailnet: TailnetSettings
    extra_records_path: Path | None = None
    certificates: Certificates | None = None
    oidc: tuple[OIDCProvider, ...] = ()
    policy: PolicySettings = field(default_factory=PolicySettings)
    login_lifetime: timedelta = LOGIN_LIFETIME
    logins_max: int = LOGINS_MAX
    log_level: str = "info"
    log_json: bool = False
    cli_timeout: timedelta = timedelta(seconds=5)
    cli_address: str = ""
    cli_api_key: str = field(default="", repr=False)
    cli_insecure: bool = False
    wireguard_peers: tuple[WireGuardPeer, ...] = ()
    later: tuple[str, ...] = field(default=())
