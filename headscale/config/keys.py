"""Every key that a configuration may have: its kind, and whether this version acts on it.

The names are the peer's (0.29 and 0.30), so that its files work here; `data_dir`, `metrics.per_node`,
`node.device_approval`, `clients.latest_version`, `derp.server.tls_listen_addr`, all of `dns.certificates`, and
`oidc.name`, `oidc.groups_claim`, `oidc.groups_in_policy`, `oidc.roles`, `oidc.recheck_interval` and `oidc.others` are
ours. Kinds are checked by `values`.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Kind(Enum):
    """What a value must be."""

    TEXT = auto()
    WORD = auto()  # a text that may be true or false
    SECRET = auto()  # a text that no complaint repeats
    FLAG = auto()
    NUMBER = auto()
    TEXTS = auto()  # a list; in the environment separated by spaces
    TABLE = auto()  # a mapping of the operator's own keys
    RECORDS = auto()  # a list of mappings
    DURATION = auto()  # Go's: 1h30m
    LONG_DURATION = auto()  # Prometheus': 30d, 1w
    PATH = auto()  # relative to the file
    PATHS = auto()
    LISTEN = auto()  # host:port
    PREFIX_V4 = auto()
    PREFIX_V6 = auto()
    ADDRESS = auto()
    MODE = auto()  # octal digits
    ANY = auto()  # not looked at


@dataclass(frozen=True, slots=True)
class Key:
    """A key. `later`: accepted, and named at start as having no effect."""

    name: str
    kind: Kind
    choices: tuple[str, ...] = ()
    later: bool = False


# RFC 8945, section 6, without those that it calls not recommended.
TSIG_ALGORITHMS: Final = ("hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")

_NOW: Final = (
    Key("server_url", Kind.TEXT),
    Key("listen_addr", Kind.LISTEN),
    Key("metrics_listen_addr", Kind.LISTEN),
    Key("metrics.per_node", Kind.FLAG),
    Key("data_dir", Kind.PATH),
    Key("noise.private_key_path", Kind.PATH),
    Key("prefixes.v4", Kind.PREFIX_V4),
    Key("prefixes.v6", Kind.PREFIX_V6),
    Key("prefixes.allocation", Kind.TEXT, ("sequential", "random")),
    Key("derp.server.enabled", Kind.FLAG),
    Key("derp.server.region_id", Kind.NUMBER),
    Key("derp.server.region_code", Kind.TEXT),
    Key("derp.server.region_name", Kind.TEXT),
    Key("derp.server.verify_clients", Kind.FLAG),
    Key("derp.server.stun_listen_addr", Kind.LISTEN),
    Key("derp.server.tls_listen_addr", Kind.LISTEN),
    Key("derp.server.private_key_path", Kind.PATH),
    Key("derp.server.automatically_add_embedded_derp_region", Kind.FLAG),
    Key("derp.server.ipv4", Kind.ADDRESS),
    Key("derp.server.ipv6", Kind.ADDRESS),
    Key("derp.urls", Kind.TEXTS),
    Key("derp.paths", Kind.PATHS),
    Key("derp.auto_update_enabled", Kind.FLAG),
    Key("derp.update_frequency", Kind.DURATION),
    Key("node.expiry", Kind.LONG_DURATION),
    Key("node.ephemeral.inactivity_timeout", Kind.DURATION),
    Key("node.routes.ha.probe_interval", Kind.DURATION),
    Key("node.routes.ha.probe_timeout", Kind.DURATION),
    Key("node.device_approval", Kind.FLAG),
    Key("preauth_keys.revoked_retention", Kind.DURATION),
    Key("tuning.register_cache_expiration", Kind.DURATION),
    Key("tuning.register_cache_max_entries", Kind.NUMBER),
    Key("clients.latest_version", Kind.TEXT),
    Key("database.type", Kind.TEXT, ("sqlite", "sqlite3", "postgres")),
    Key("database.debug", Kind.FLAG),
    Key("database.sqlite.path", Kind.PATH),
    Key("database.sqlite.write_ahead_log", Kind.FLAG),
    Key("database.sqlite.wal_autocheckpoint", Kind.NUMBER),
    Key("database.postgres.host", Kind.TEXT),
    Key("database.postgres.port", Kind.NUMBER),
    Key("database.postgres.name", Kind.TEXT),
    Key("database.postgres.user", Kind.TEXT),
    Key("database.postgres.pass", Kind.SECRET),
    Key("database.postgres.pass_path", Kind.PATH),
    Key("database.postgres.ssl", Kind.WORD),
    Key("trusted_proxies", Kind.TEXTS),
    Key("tls_cert_path", Kind.PATH),
    Key("tls_key_path", Kind.PATH),
    Key("acme_url", Kind.TEXT),
    Key("acme_email", Kind.TEXT),
    Key("tls_letsencrypt_hostname", Kind.TEXT),
    Key("tls_letsencrypt_cache_dir", Kind.PATH),
    Key("tls_letsencrypt_challenge_type", Kind.TEXT, ("HTTP-01", "TLS-ALPN-01")),
    Key("tls_letsencrypt_listen", Kind.LISTEN),
    Key("log.level", Kind.TEXT, ("trace", "debug", "info", "warn", "error")),
    Key("log.format", Kind.TEXT, ("text", "json")),
    Key("policy.mode", Kind.TEXT, ("file", "database")),
    Key("policy.path", Kind.PATH),
    Key("dns.magic_dns", Kind.FLAG),
    Key("dns.base_domain", Kind.TEXT),
    Key("dns.override_local_dns", Kind.FLAG),
    Key("dns.nameservers.global", Kind.TEXTS),
    Key("dns.nameservers.split", Kind.TABLE),
    Key("dns.search_domains", Kind.TEXTS),
    Key("dns.extra_records", Kind.RECORDS),
    Key("dns.extra_records_path", Kind.PATH),
    Key("dns.certificates.backend", Kind.TEXT, ("rfc2136", "exec")),
    Key("dns.certificates.timeout", Kind.DURATION),
    Key("dns.certificates.record_lifetime", Kind.DURATION),
    Key("dns.certificates.rfc2136.server", Kind.TEXT),
    Key("dns.certificates.rfc2136.zone", Kind.TEXT),
    Key("dns.certificates.rfc2136.tsig_name", Kind.TEXT),
    Key("dns.certificates.rfc2136.tsig_algorithm", Kind.TEXT, TSIG_ALGORITHMS),
    Key("dns.certificates.rfc2136.tsig_secret", Kind.SECRET),
    Key("dns.certificates.rfc2136.tsig_secret_path", Kind.PATH),
    Key("dns.certificates.exec.command", Kind.TEXTS),
    Key("oidc.only_start_if_oidc_is_available", Kind.FLAG),
    Key("oidc.issuer", Kind.TEXT),
    Key("oidc.client_id", Kind.TEXT),
    Key("oidc.client_secret", Kind.SECRET),
    Key("oidc.client_secret_path", Kind.PATH),
    Key("oidc.scope", Kind.TEXTS),
    Key("oidc.extra_params", Kind.TABLE),
    Key("oidc.allowed_domains", Kind.TEXTS),
    Key("oidc.allowed_users", Kind.TEXTS),
    Key("oidc.allowed_groups", Kind.TEXTS),
    Key("oidc.email_verified_required", Kind.FLAG),
    Key("oidc.use_expiry_from_token", Kind.FLAG),
    Key("oidc.pkce.enabled", Kind.FLAG),
    Key("oidc.pkce.method", Kind.TEXT, ("S256", "plain")),
    Key("oidc.name", Kind.TEXT),
    Key("oidc.groups_claim", Kind.TEXT),
    Key("oidc.groups_in_policy", Kind.FLAG),
    Key("oidc.roles", Kind.TABLE),
    Key("oidc.recheck_interval", Kind.DURATION),
    Key("oidc.others", Kind.RECORDS),
    Key("wireguard_peers", Kind.RECORDS),
    Key("unix_socket", Kind.PATH),
    Key("unix_socket_permission", Kind.MODE),
    Key("cli.timeout", Kind.DURATION),
    Key("cli.address", Kind.TEXT),
    Key("cli.api_key", Kind.TEXT),
    Key("cli.insecure", Kind.FLAG),
    Key("logtail.enabled", Kind.FLAG),
    Key("taildrop.enabled", Kind.FLAG),
    Key("auto_update.enabled", Kind.FLAG),
)

# What these would change is not there to be changed: docs/decisions/0004 has the reasons.
_LATER: Final = (
    "disable_check_updates",
    "database.gorm.prepare_stmt",
    "database.gorm.parameterized_queries",
    "database.gorm.skip_err_record_not_found",
    "database.gorm.slow_threshold",
    "database.postgres.max_open_conns",
    "database.postgres.max_idle_conns",
    "database.postgres.conn_max_idle_time_secs",
    "tuning.batch_change_delay",
    "tuning.node_mapsession_buffered_chan_size",
    "tuning.batcher_workers",
    "tuning.node_store_batch_size",
    "tuning.node_store_batch_timeout",
    "tuning.notifier_send_timeout",
)

KEYS: Final[dict[str, Key]] = {
    **{key.name: key for key in _NOW},
    **{name: Key(name, Kind.ANY, later=True) for name in _LATER},
}

# What administrators may choose while the server runs, by the name of the choice, where the operator wrote no value.
CHOOSABLE: Final[dict[str, str]] = {
    "magic_dns": "dns.magic_dns",
    "override_local_dns": "dns.override_local_dns",
    "nameservers": "dns.nameservers.global",
    "split": "dns.nameservers.split",
    "search_domains": "dns.search_domains",
    "node_expiry_days": "node.expiry",
    "auto_update": "auto_update.enabled",
}

# Gone from the peer, and what to write instead. Ignoring them would hide a change of behaviour.
REMOVED: Final[dict[str, str]] = {
    "acl_policy_path": "policy.path",
    "db_type": "database.type",
    "db_path": "database.sqlite.path",
    "ip_prefixes": "prefixes.v4 and prefixes.v6",
    "dns_config": "dns",
    "dns.use_username_in_magic_dns": "nothing: user names are no longer part of node names",
    "oidc.strip_email_domain": "nothing: identities are the provider's, not the e-mail",
    "oidc.map_legacy_users": "nothing: identities are the provider's, not the e-mail",
    "oidc.expiry": "node.expiry",
    "randomize_client_port": "randomizeClientPort in the policy",
    "ephemeral_node_inactivity_timeout": "node.ephemeral.inactivity_timeout",
    "private_key_path": "noise.private_key_path",
    "grpc_listen_addr": "nothing: there is no gRPC here",
    "grpc_allow_insecure": "nothing: there is no gRPC here",
}

# Variables that are not keys of the configuration.
OTHER_VARIABLES: Final = frozenset({"HEADSCALE_CONFIG"})
OTHER_PREFIXES: Final = ("HEADSCALE_CONFORMANCE",)
# The peer's, for looking into it while it runs; here each is named as having no effect.
DEBUG_PREFIX: Final = "HEADSCALE_DEBUG_"


def variable_of(name: str) -> str:
    """The environment variable that overrides a key."""
    return "HEADSCALE_" + name.upper().replace(".", "_")
