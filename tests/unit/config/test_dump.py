"""The configuration in force, written down again."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from headscale.config.dump import MASK, effective, without_password
from headscale.config.file import load_config
from headscale.config.keys import KEYS

FULL = """
server_url: https://vpn.example.com
listen_addr: "[::1]:8443"
metrics_listen_addr: 127.0.0.1:9090
metrics: {per_node: false}
prefixes: {v4: 100.64.0.0/16, allocation: random}
node: {expiry: 30d, device_approval: true, ephemeral: {inactivity_timeout: 90s}}
derp:
  server: {region_id: 900, verify_clients: false, ipv4: 192.0.2.1, stun_listen_addr: 0.0.0.0:3479}
  urls: [https://derp.example.com/map.json]
  update_frequency: 90m
tuning: {register_cache_expiration: 1.5s, register_cache_max_entries: 9}
preauth_keys: {revoked_retention: 36h}
policy: {mode: file, path: policy.hujson}
dns:
  base_domain: tail.example.net
  nameservers: {global: [192.0.2.53], split: {corp.example: [192.0.2.54]}}
  search_domains: [corp.example]
  extra_records: [{name: a.tail.example.net, type: A, value: 100.64.0.9}]
  certificates:
    backend: rfc2136
    rfc2136: {server: 192.0.2.5:5353, zone: tail.example.net, tsig_name: k, tsig_secret: c2VjcmV0LXRzaWctc2VjcmV0}
oidc:
  name: first
  issuer: https://id.example.com
  client_id: headscale
  client_secret: planted-oidc-secret
  extra_params: {prompt: planted-parameter}
  groups_claim: realm_access.roles
  roles: {admin: [ops, sre], auditor: [audit]}
  recheck_interval: 30m
  others:
    - {name: second, issuer: https://other.example.com, client_id: hs, client_secret: planted-other-secret, roles: {}}
unix_socket_permission: "0750"
cli: {timeout: 7s, address: vpn.example.com, api_key: planted-api-key}
clients: {latest_version: 1.102.4}
logtail: {enabled: true}
taildrop: {enabled: false}
"""


def test_a_dump_read_again_is_the_same_configuration(tmp_path: Path) -> None:
    """But for secrets, and for where it stands."""
    file = tmp_path / "config.yaml"
    file.write_text(FULL)
    config = load_config(file, {})
    text = StringIO()
    YAML().dump(effective(config), text)
    assert "planted-api-key" not in text.getvalue()
    assert "c2VjcmV0" not in text.getvalue()
    for planted in ("planted-oidc-secret", "planted-other-secret", "planted-parameter"):
        assert planted not in text.getvalue()
    again = tmp_path / "again.yaml"
    again.write_text(
        text.getvalue().replace(f"tsig_secret: '{MASK}'", "tsig_secret: c2VjcmV0LXRzaWctc2VjcmV0")
    )
    read = effective(load_config(again, {}))
    assert read == effective(config)


def test_every_key_that_has_an_effect_is_in_the_dump(tmp_path: Path) -> None:
    """But for the files of secrets, which are read once and then no longer known."""
    file = tmp_path / "config.yaml"
    by_command = (
        FULL[: FULL.index("    backend")] + "    backend: exec\n    exec: {command: [/bin/sh, --token=x]}\n"
    )
    shown: set[str] = set()
    by_server = (
        "database: {type: postgres, debug: true, postgres: {host: h, port: 1, name: n, user: u, pass: p}}\n"
    )
    for text in (FULL, by_command, by_server):
        file.write_text(text)
        dumped = effective(load_config(file, {}))
        assert "--token=x" not in str(dumped)
        shown.update(_names(dumped))
    wanted = {key.name for key in KEYS.values() if not key.later}
    assert wanted - shown == {
        "database.postgres.pass_path",
        "dns.certificates.rfc2136.tsig_secret_path",
        "oidc.client_secret_path",
    }


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@host:8443/p", f"https://{MASK}@host:8443/p"),
        ("https://host/p?token=secret", f"https://host/p?{MASK}"),
        ("https://host/p", "https://host/p"),
        ("http://[broken", MASK),
        ("192.0.2.53", "192.0.2.53"),
    ],
)
def test_what_may_be_secret_in_a_url_is_masked(url: str, shown: str) -> None:
    assert without_password(url) == shown


def _names(document: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in document.items():
        name = f"{prefix}{key}"
        if name not in KEYS and isinstance(value, dict):
            yield from _names(value, f"{name}.")
        else:
            yield name
