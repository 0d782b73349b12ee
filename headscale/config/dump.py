"""The configuration in force, written as a configuration file has it; secrets are masked."""

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from headscale.config.settings import (
    ACMESettings,
    Certificates,
    Config,
    DNSCommand,
    DNSUpdates,
    EmbeddedDERP,
    Listen,
    OIDCProvider,
)
from headscale.records import DNSSettings, TailnetSettings, WireGuardPeer
from headscale.tailcfg.hostinfo import Location

MASK: Final = "********"


def effective(config: Config) -> dict[str, Any]:
    """Key by key, sections as mappings; a key without a value is None."""
    document: dict[str, Any] = {}
    for name, value in _keys(config).items():
        *sections, last = name.split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return document


def without_password(url: str) -> str:
    """The URL, with what may be a secret in it masked: user and password, and the query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    host = parts.netloc.rpartition("@")[2]
    shown = parts._replace(
        netloc=f"{MASK}@{host}" if "@" in parts.netloc else host,
        query=MASK if parts.query else "",
    )
    return shown.geturl()


def _keys(config: Config) -> dict[str, Any]:
    return {
        "server_url": without_password(config.tailnet.server_url),
        "listen_addr": _listen(config.listen),
        "metrics_listen_addr": _listen(config.metrics_listen),
        "metrics.per_node": config.metrics_per_node,
        "data_dir": str(config.data_dir),
        "noise.private_key_path": str(config.noise_key_path),
        **_tailnet(config.tailnet),
        **_relay(config.derp),
        "derp.urls": [without_password(url) for url in config.derp_sources.urls],
        "derp.paths": [str(path) for path in config.derp_sources.paths],
        "derp.auto_update_enabled": config.derp_sources.frequency is not None,
        "derp.update_frequency": _duration(config.derp_sources.frequency or timedelta()),
        "tuning.register_cache_expiration": _duration(config.login_lifetime),
        "tuning.register_cache_max_entries": config.logins_max,
        **_database(config),
        "trusted_proxies": [str(network) for network in config.trusted_proxies],
        "tls_cert_path": str(config.tls.certificate) if config.tls else None,
        "tls_key_path": str(config.tls.key) if config.tls else None,
        **_acme(config.acme),
        "log.level": config.log_level,
        "log.format": "json" if config.log_json else "text",
        "policy.mode": config.policy.mode.value,
        "policy.path": str(config.policy.path) if config.policy.path else None,
        **_dns(config.tailnet.dns),
        "dns.extra_records_path": str(config.extra_records_path) if config.extra_records_path else None,
        **_certificates(config.certificates),
        **_oidc(config.oidc),
        "wireguard_peers": [_wireguard(peer) for peer in config.wireguard_peers],
        "unix_socket": str(config.unix_socket),
        "unix_socket_permission": f"{config.unix_socket_mode:04o}",
        "cli.timeout": _duration(config.cli_timeout),
        "cli.address": without_password(config.cli_address),
        "cli.api_key": MASK if config.cli_api_key else None,
        "cli.insecure": config.cli_insecure,
    }


def _acme(settings: ACMESettings | None) -> Mapping[str, Any]:
    return {
        "acme_url": without_password(settings.directory) if settings else None,
        "acme_email": settings.email if settings else None,
        "tls_letsencrypt_hostname": settings.hostname if settings else None,
        "tls_letsencrypt_cache_dir": str(settings.cache) if settings else None,
        "tls_letsencrypt_challenge_type": settings.challenge.value.upper() if settings else None,
        "tls_letsencrypt_listen": _listen(settings.listen) if settings else None,
    }


def _database(config: Config) -> Mapping[str, Any]:
    if (postgres := config.postgres) is None:
        return {
            "database.type": "sqlite",
            "database.debug": config.logs_statements,
            "database.sqlite.path": str(config.sqlite_path),
            "database.sqlite.write_ahead_log": config.sqlite.write_ahead_log,
            "database.sqlite.wal_autocheckpoint": config.sqlite.checkpoint_pages,
        }
    return {
        "database.type": "postgres",
        "database.debug": config.logs_statements,
        "database.postgres.host": postgres.host,
        "database.postgres.port": postgres.port,
        "database.postgres.name": postgres.name,
        "database.postgres.user": postgres.user,
        "database.postgres.pass": MASK if postgres.password else None,
        "database.postgres.ssl": postgres.ssl,
    }


def _tailnet(settings: TailnetSettings) -> Mapping[str, Any]:
    return {
        "prefixes.v4": str(settings.prefix_v4) if settings.prefix_v4 else None,
        "prefixes.v6": str(settings.prefix_v6) if settings.prefix_v6 else None,
        "prefixes.allocation": settings.allocation.value,
        "node.expiry": _duration(settings.node_expiry or timedelta()),
        "node.ephemeral.inactivity_timeout": _duration(settings.ephemeral_timeout),
        "node.routes.ha.probe_interval": _duration(settings.probe_interval),
        "node.routes.ha.probe_timeout": _duration(settings.probe_timeout),
        "node.device_approval": settings.device_approval,
        "preauth_keys.revoked_retention": _duration(settings.revoked_retention or timedelta()),
        "clients.latest_version": settings.latest_client or None,
        "logtail.enabled": settings.log_tail,
        "taildrop.enabled": settings.taildrop,
        "auto_update.enabled": settings.auto_update,
    }


def _relay(derp: EmbeddedDERP | None) -> Mapping[str, Any]:
    names = (
        *("region_id", "region_code", "region_name", "verify_clients", "stun_listen_addr", "tls_listen_addr"),
        *("private_key_path", "automatically_add_embedded_derp_region", "ipv4", "ipv6"),
    )
    values: tuple[Any, ...] = (None,) * len(names)
    if derp is not None:
        values = (
            *(derp.region_id, derp.region_code, derp.region_name, derp.verify_clients),
            *(_listen(derp.stun_listen), _listen(derp.tls_listen), str(derp.key_path), derp.adds_region),
            *(str(address) if address else None for address in (derp.ipv4, derp.ipv6)),
        )
    told = {f"derp.server.{name}": value for name, value in zip(names, values, strict=True)}
    return {"derp.server.enabled": derp is not None, **told}


def _dns(dns: DNSSettings) -> Mapping[str, Any]:
    return {
        "dns.magic_dns": dns.magic_dns,
        "dns.base_domain": dns.base_domain,
        "dns.override_local_dns": dns.override_local_dns,
        "dns.nameservers.global": [without_password(server) for server in dns.nameservers],
        "dns.nameservers.split": {
            domain: [without_password(server) for server in servers] for domain, servers in dns.split.items()
        },
        "dns.search_domains": list(dns.search_domains),
        "dns.extra_records": [
            {"name": record.name, "type": record.type, "value": record.value} for record in dns.extra_records
        ],
    }


def _wireguard(peer: WireGuardPeer) -> Mapping[str, Any]:
    place = peer.location or Location()
    return {
        "name": peer.name,
        "public_key": base64.b64encode(bytes.fromhex(peer.public_key.partition(":")[2])).decode(),
        "endpoints": list(peer.endpoints),
        "tags": list(peer.tags),
        "routes": list(peer.routes),
        "dns": list(peer.dns),
        "country": place.country,
        "country_code": place.country_code,
        "city": place.city,
        "city_code": place.city_code,
    }


def _certificates(certificates: Certificates | None) -> Mapping[str, Any]:
    """Only what has an effect: keys of a backend that is not used are a mistake in a file."""
    if certificates is None:
        return {}
    shared = {
        "dns.certificates.timeout": _duration(certificates.timeout),
        "dns.certificates.record_lifetime": _duration(certificates.record_lifetime),
    }
    match certificates.backend:
        case DNSUpdates() as updates:
            return shared | {
                "dns.certificates.backend": "rfc2136",
                "dns.certificates.rfc2136.server": _host_and_port(updates.host, updates.port),
                "dns.certificates.rfc2136.zone": updates.zone,
                "dns.certificates.rfc2136.tsig_name": updates.tsig_name,
                "dns.certificates.rfc2136.tsig_algorithm": updates.tsig_algorithm,
                "dns.certificates.rfc2136.tsig_secret": MASK,
            }
        case DNSCommand(command=command):
            # A program's arguments may hold a token.
            shown = [command[0], *([MASK] if len(command) > 1 else [])]
            return shared | {"dns.certificates.backend": "exec", "dns.certificates.exec.command": shown}


def _oidc(providers: tuple[OIDCProvider, ...]) -> Mapping[str, Any]:
    """The first in the section itself, others in its list; nothing without any."""
    if not providers:
        return {}
    first, *others = map(_provider, providers)
    listed = [{name.removeprefix("oidc."): value for name, value in other.items()} for other in others]
    return {**first, "oidc.others": listed}


def _provider(provider: OIDCProvider) -> dict[str, Any]:
    return {
        "oidc.name": provider.name,
        "oidc.issuer": without_password(provider.issuer),
        "oidc.client_id": provider.client_id,
        "oidc.client_secret": MASK if provider.client_secret else None,
        "oidc.scope": list(provider.scopes),
        # A parameter may be a token.
        "oidc.extra_params": dict.fromkeys(provider.extra_params, MASK),
        "oidc.allowed_domains": list(provider.allowed_domains),
        "oidc.allowed_users": list(provider.allowed_users),
        "oidc.allowed_groups": list(provider.allowed_groups),
        "oidc.email_verified_required": provider.email_verified_required,
        "oidc.use_expiry_from_token": provider.expiry_from_token,
        "oidc.groups_claim": ".".join(provider.groups_claim),
        "oidc.groups_in_policy": provider.groups_in_policy,
        "oidc.roles": None
        if provider.roles is None
        else {role.value: list(groups) for role, groups in provider.roles},
        "oidc.recheck_interval": _duration(provider.recheck or timedelta()),
        "oidc.only_start_if_oidc_is_available": provider.must_be_there,
        "oidc.pkce.enabled": True,
        "oidc.pkce.method": "S256",
    }


def _listen(listen: Listen | None) -> str | None:
    return _host_and_port(listen.host, listen.port) if listen is not None else None


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _duration(duration: timedelta) -> str:
    seconds = f"{duration.total_seconds():.6f}".rstrip("0").rstrip(".")
    return f"{seconds}s" if duration else "0"
