"""A file and the environment become a Config, or every complaint at once."""

import os
import textwrap
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from headscale.config.file import (
    BadConfig,
    default_data_dir,
    default_socket,
    find_config,
    load_config,
)
from headscale.config.keys import KEYS, REMOVED, variable_of
from headscale.config.settings import Config, DerpSources, Listen, PolicyMode, PolicySettings
from headscale.records import Allocation
from headscale.tailcfg.dns import DNSRecord

EXAMPLE = Path(__file__).parents[2] / "data" / "peer-config-example.yaml"
Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a text as a file, with these variables."""

    def loaded(text: str = "", **environment: str) -> Config:
        path = tmp_path / "config.yaml"
        path.write_text(textwrap.dedent(text))
        return load_config(path, environment)

    return loaded


@pytest.fixture
def complaints(load: Load, tmp_path: Path) -> Callable[..., list[str]]:
    """What is wrong with a text, the file's name left out."""

    def found(text: str = "", **environment: str) -> list[str]:
        with pytest.raises(BadConfig) as caught:
            load(text, **environment)
        return [line.replace(f"{tmp_path}/config.yaml", "file") for line in str(caught.value).splitlines()]

    return found


def test_no_file_is_a_server_with_everything_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newcomer's `headscale serve`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_config(None, {"HEADSCALE_DATA_DIR": str(tmp_path / "d")})
    assert config.source is None or config.source == Path("/etc/headscale/config.yaml")
    assert config.listen == Listen(host="", port=8080)
    assert config.tailnet.server_url.startswith("http://")
    assert config.tailnet.server_url.endswith(":8080")
    assert config.tls is None
    assert config.derp is not None
    assert config.derp.tls_listen.port == 8443
    assert config.noise_key_path == tmp_path / "d" / "noise_private.key"
    assert config.sqlite_path == tmp_path / "d" / "db.sqlite"
    assert config.tailnet.ephemeral_timeout == timedelta(minutes=30)
    assert config.tailnet.node_expiry is None
    assert (config.tailnet.dns.magic_dns, config.tailnet.dns.base_domain) == (True, "tailnet.internal")
    assert config.later == ()


def test_the_peers_example_loads_as_it_is(load: Load) -> None:
    """It takes its relays from a URL."""
    config = load(EXAMPLE.read_text())
    assert config.derp is None
    assert config.derp_sources == DerpSources(
        urls=("https://controlplane.tailscale.com/derpmap/default",), frequency=timedelta(hours=3)
    )


@pytest.mark.parametrize("line", ["auto_update_enabled: false", "update_frequency: 0"])
def test_maps_may_be_fetched_only_once(load: Load, line: str) -> None:
    config = load(f"derp:\n  urls: [https://a.example/map]\n  {line}")
    assert config.derp_sources.frequency is None


def test_our_relay_may_stand_in_a_map_of_the_operators(load: Load, tmp_path: Path) -> None:
    """It runs all the same."""
    (tmp_path / "map.yaml").write_text("regions: {}")
    config = load("derp:\n  server: {automatically_add_embedded_derp_region: false}\n  paths: [map.yaml]")
    assert config.derp is not None
    assert not config.derp.adds_region
    assert config.derp_sources.paths == (tmp_path / "map.yaml",)


def test_the_peers_example_loads_with_a_relay(load: Load) -> None:
    config = load(EXAMPLE.read_text(), HEADSCALE_DERP_SERVER_ENABLED="true")
    tailnet, derp = config.tailnet, config.derp
    assert derp is not None
    assert config.listen == Listen(host="127.0.0.1", port=8080)
    assert tailnet.server_url == "http://127.0.0.1:8080"
    assert config.noise_key_path == Path("/var/lib/headscale/noise_private.key")
    assert config.sqlite_path == Path("/var/lib/headscale/db.sqlite")
    assert (str(tailnet.prefix_v4), str(tailnet.prefix_v6)) == ("100.64.0.0/10", "fd7a:115c:a1e0::/48")
    assert tailnet.allocation is Allocation.SEQUENTIAL
    assert (derp.region_id, derp.region_code, derp.region_name) == (
        999,
        "headscale",
        "Headscale Embedded DERP",
    )
    assert derp.stun_listen == Listen(host="0.0.0.0", port=3478)
    assert (derp.ipv4, derp.ipv6) == (IPv4Address("198.51.100.1"), IPv6Address("2001:db8::1"))
    assert derp.verify_clients is True
    assert (tailnet.node_expiry, tailnet.ephemeral_timeout) == (None, timedelta(minutes=30))
    assert tailnet.dns.override_local_dns is True
    assert tailnet.dns.nameservers == ("1.1.1.1", "1.0.0.1", "2606:4700:4700::1111", "2606:4700:4700::1001")
    assert tailnet.dns.base_domain == "example.com"
    assert (config.unix_socket, config.unix_socket_mode) == (
        Path("/var/run/headscale/headscale.sock"),
        0o770,
    )
    assert (tailnet.log_tail, tailnet.taildrop, tailnet.auto_update) == (False, True, False)
    assert config.policy == PolicySettings(mode=PolicyMode.FILE, path=None)
    assert config.tls is None


def test_metrics_are_served_where_the_operator_says_and_else_nowhere(load: Load) -> None:
    assert load("").metrics_listen is None
    assert load('metrics_listen_addr: ""').metrics_listen is None
    told = load("metrics_listen_addr: 127.0.0.1:9090\nmetrics: {per_node: false}")
    assert (told.metrics_listen, told.metrics_per_node) == (Listen(host="127.0.0.1", port=9090), False)


def test_keys_of_later_features_are_accepted_and_named(load: Load) -> None:
    config = load(EXAMPLE.read_text(), HEADSCALE_DERP_SERVER_ENABLED="1")
    assert {"disable_check_updates", "tuning.node_store_batch_size"} <= set(config.later)
    assert not {"policy.mode", "acme_email", "listen_addr", "dns.base_domain"} & set(config.later)
    assert list(config.later) == sorted(config.later)


@pytest.mark.parametrize(
    ("written", "kept"), [("", timedelta(days=7)), ("36h", timedelta(hours=36)), ("0", None), ("0s", None)]
)
def test_how_long_revoked_keys_are_kept(load: Load, written: str, kept: timedelta | None) -> None:
    """A week, as the operator says, or for ever."""
    config = load(f"preauth_keys: {{revoked_retention: {written}}}")
    assert config.tailnet.revoked_retention == kept
    assert config.later == ()


def test_every_complaint_comes_at_once_with_its_line(complaints: Callable[..., list[str]]) -> None:
    found = complaints(
        """\
        server_url: control.example
        listen_addr: 8080
        derp:
          server:
            region_id: 0
            enabld: true
        node:
          expiry: soon
          ephemeral:
            inactivity_timeout: 65s
        database:
          type: mysql
        unix_socket_permission: rwx
        dns:
          base_domain: ""
        """
    )
    assert sorted(found, key=lambda line: int(line.split(":")[1])) == [
        "file:1: server_url: 'control.example' is not http:// or https:// with a host",
        "file:2: listen_addr: '8080' is not host:port, for example 0.0.0.0:8080 or [::]:8080",
        "file:5: derp.server.region_id: expected 1 to 65535, got 0",
        "file:6: unknown key derp.server.enabld, did you mean derp.server.enabled?",
        "file:8: node.expiry: 'soon' is not a duration: expected for example 30m or 1h30m",
        "file:10: node.ephemeral.inactivity_timeout: must be longer than 65s, or nodes are deleted while they "
        "change networks",
        "file:12: database.type: 'mysql' is none of sqlite, sqlite3, postgres",
        "file:13: unix_socket_permission: 'rwx' is not a file mode: expected octal digits like \"0770\"",
        "file:15: dns.base_domain: MagicDNS needs a domain: set one, or dns.magic_dns to false",
    ]


@pytest.mark.parametrize(
    ("interval", "timeout", "said"),
    [
        (
            "1s",
            "500ms",
            ("probe_interval: must be at least 2s, or 0 to ask nobody", "probe_timeout: must be at least 1s"),
        ),
        ("10s", "10s", ("probe_timeout: must be shorter than node.routes.ha.probe_interval",)),
        ("10s", "0s", ("probe_timeout: must be at least 1s",)),
        ("0s", "30s", ()),
        ("2s", "1s", ()),
    ],
)
def test_how_routers_are_probed(load: Load, interval: str, timeout: str, said: tuple[str, ...]) -> None:
    text = f"node:\n  routes:\n    ha:\n      probe_interval: {interval}\n      probe_timeout: {timeout}\n"
    if not said:
        config = load(text)
        assert config.tailnet.probe_interval == timedelta(seconds=int(interval[:-1]))
        assert config.tailnet.probe_timeout == timedelta(seconds=int(timeout[:-1]))
        return
    with pytest.raises(BadConfig) as refused:
        load(text)
    for words in said:
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("sever_url: http://h", "server_url"),
        ("dns:\n  magicdns: true", "dns.magic_dns"),
        ("derp:\n  stun_listen_addr: :3478", "derp.server.stun_listen_addr"),
        ("base_domain: x", "dns.base_domain"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(
    complaints: Callable[..., list[str]], text: str, near: str
) -> None:
    [complaint] = complaints(text)
    assert complaint.endswith(f"did you mean {near}?")


@pytest.mark.parametrize("name", sorted(REMOVED))
def test_a_key_that_is_gone_names_its_successor(complaints: Callable[..., list[str]], name: str) -> None:
    parts = name.split(".")
    text = "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(parts)).rstrip() + " true\n"
    assert complaints(text) == [f"file:{len(parts)}: {name} is gone: use {REMOVED[name]}"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "file:1: not YAML: "),
        ("dns: {}\ndns: {}\n", "file:2: not YAML: found duplicate key"),
        ("- a\n- b\n", "file: expected keys and values at the top"),
        ("just text", "file: expected keys and values at the top"),
        ("dns: 5", "file:1: dns: expected keys under it, got 5"),
        ("server_url: [a]", "file:1: server_url: expected a text, got a list"),
        ("derp:\n  paths: {}", "file:2: derp.paths: expected a list, got a mapping"),
        ("dns:\n  magic_dns: maybe", "file:2: dns.magic_dns: expected true or false, got 'maybe'"),
        (
            "dns:\n  nameservers:\n    split: [a]",
            "file:3: dns.nameservers.split: expected a mapping, got a list",
        ),
        ("prefixes:\n  v4: 100.64.0.1/10", "file:2: prefixes.v4: '100.64.0.1/10' is not an IPv4 prefix"),
        ("derp:\n  server:\n    ipv4: host", "file:3: derp.server.ipv4: 'host' is not an IP address"),
        ("derp:\n  paths: [nowhere.yaml]", "file:2: derp.paths: there is no file "),
        ("dns:\n  override_local_dns: true", "file:2: dns.override_local_dns: needs dns.nameservers.global"),
        ("derp:\n  server:\n    region_id: 65536", "file:3: derp.server.region_id: expected 1 to 65535"),
        ("database:\n  type: postgres", "configuration: database.postgres.host: PostgreSQL needs it"),
        (
            "server_url: http://hs.ts.example\ndns:\n  base_domain: ts.example",
            "file:3: dns.base_domain: must not contain the server's own name",
        ),
        ("policy:\n  mode: db", "file:2: policy.mode: 'db' is none of file, database"),
        ("prefixes:\n  v4:\n  v6:", "file:2: prefixes.v4: at least one"),
        (
            "dns:\n  extra_records: [{name: a, type: TXT, value: b}]",
            "file:2: dns.extra_records: entry 1 (a): type 'TXT': clients answer A and AAAA only",
        ),
        (
            "dns:\n  extra_records: []\n  extra_records_path: config.yaml",
            "file:3: dns.extra_records_path: give the records here or in a file, not both",
        ),
        ("dns:\n  extra_records_path: nowhere", "file:2: dns.extra_records_path: there is no file "),
        ("dns:\n  extra_records_path: .", "file:2: dns.extra_records_path: there is no file "),
        ("dns:\n  search_domains: [a..b]", "file:2: dns.search_domains: 'a..b' is not a domain name"),
        ("dns:\n  base_domain: a_b c", "file:2: dns.base_domain: 'a_b c' is not a domain name"),
        (
            "dns:\n  nameservers:\n    global: [dns.example]",
            "file:3: dns.nameservers.global: 'dns.example' is neither an IP address",
        ),
        (
            "dns:\n  nameservers:\n    global: ['http://dns.example']",
            "file:3: dns.nameservers.global: 'http://dns.example' is neither an IP address",
        ),
        (
            "dns:\n  nameservers:\n    split: {corp: [dns]}",
            "file:3: dns.nameservers.split: 'dns' is neither an IP address",
        ),
        (
            "dns:\n  nameservers:\n    split: {'a b': [192.0.2.1]}",
            "file:3: dns.nameservers.split: 'a b' is not a domain name",
        ),
        (
            "derp:\n  urls: [ftp://a.example/]",
            "file:2: derp.urls: 'ftp://a.example/' is not http:// or https://",
        ),
        (
            "derp:\n  update_frequency: 1ms",
            "file:2: derp.update_frequency: must be at least 1s, or 0 for never",
        ),
        (
            "derp:\n  server: {automatically_add_embedded_derp_region: false}",
            "file:2: derp.server.automatically_add_embedded_derp_region: clients cannot work without a relay",
        ),
        ("tls_cert_path: /nowhere/c.pem", "configuration: tls_key_path: give both files or neither"),
    ],
)
def test_a_wrong_text_is_a_complaint_and_never_a_traceback(
    complaints: Callable[..., list[str]], text: str, complaint: str
) -> None:
    assert complaints(text)[0].startswith(complaint)


def test_a_merged_section_is_read(load: Load, complaints: Callable[..., list[str]]) -> None:
    """YAML's merge key; what came with it has the line of its section."""
    config = load("dns: &common\n  base_domain: a.example\n")
    assert config.tailnet.dns.base_domain == "a.example"
    found = complaints("logtail: &more\n  bogus: 1\ndns:\n  <<: *more\n  magic_dns: true\n")
    assert [line.partition(",")[0] for line in found] == [
        "file:2: unknown key logtail.bogus",
        "file:4: unknown key dns.bogus",
    ]


def test_the_environment_stands_above_the_file(load: Load) -> None:
    config = load(
        "listen_addr: :1\ndns:\n  base_domain: file.example\n",
        HEADSCALE_LISTEN_ADDR="127.0.0.1:2",
        HEADSCALE_DNS_NAMESERVERS_GLOBAL="192.0.2.1 192.0.2.2",
    )
    assert config.listen == Listen(host="127.0.0.1", port=2)
    assert config.tailnet.dns.base_domain == "file.example"
    assert config.tailnet.dns.nameservers == ("192.0.2.1", "192.0.2.2")


def test_a_bad_variable_is_named(complaints: Callable[..., list[str]]) -> None:
    assert sorted(
        complaints(HEADSCALE_LISTEN_ADDR="x", HEADSCALE_LISTEN_ADR=":1", HEADSCALE_DERP_SERVER_ENABLED="2")
    ) == [
        "environment HEADSCALE_DERP_SERVER_ENABLED: derp.server.enabled: expected true or false, got '2'",
        "environment HEADSCALE_LISTEN_ADDR: listen_addr: 'x' is not host:port, for example 0.0.0.0:8080 or "
        "[::]:8080",
        "environment HEADSCALE_LISTEN_ADR: no such setting, did you mean HEADSCALE_LISTEN_ADDR?",
    ]


def test_other_variables_are_not_ours(load: Load) -> None:
    config = load("", HEADSCALE_CONFIG="x", HEADSCALE_CONFORMANCE_RUN="1", PATH="/bin")
    assert config.later == ()


def test_the_go_headscales_debugging_variables_are_accepted_and_named(load: Load) -> None:
    """Who set one there is told that it does nothing here."""
    config = load("disable_check_updates: true", HEADSCALE_DEBUG_DUMP_CONFIG="1", HEADSCALE_DEBUG_DEADLOCK="")
    assert config.later == ("HEADSCALE_DEBUG_DUMP_CONFIG", "disable_check_updates")


def test_every_key_has_a_variable_of_its_own() -> None:
    assert len({variable_of(name) for name in KEYS}) == len(KEYS)


@pytest.mark.parametrize("written", ['"0770"', "0770", "0o770", "770", '"770"', '"0o770"'])
def test_a_socket_mode_is_octal_however_it_is_written(load: Load, written: str) -> None:
    """YAML 1.2 reads an unquoted 0770 as decimal."""
    assert load(f"unix_socket_permission: {written}\n").unix_socket_mode == 0o770


@pytest.mark.parametrize("written", ["0o1770", "1777", "-1", "888", "77", '"u=rw"', "true"])
def test_other_modes_are_refused(complaints: Callable[..., list[str]], written: str) -> None:
    [complaint] = complaints(f"unix_socket_permission: {written}\n")
    assert complaint.startswith("file:1: unix_socket_permission: ")


def test_paths_are_relative_to_the_file(load: Load, tmp_path: Path) -> None:
    config = load("data_dir: data\ntls_cert_path: ''\nnoise: {private_key_path: keys/noise}\n")
    assert config.data_dir == tmp_path / "data"
    assert config.noise_key_path == tmp_path / "keys" / "noise"
    assert config.sqlite_path == tmp_path / "data" / "db.sqlite"


def test_split_dns_and_extra_records(load: Load) -> None:
    dns = load(
        """\
        dns:
          base_domain: .TS.example.
          nameservers:
            split: {Corp.Example.: [192.0.2.1]}
          extra_records:
            - {name: printer.ts.example, type: A, value: 192.0.2.9}
        """
    ).tailnet.dns
    assert dns.base_domain == "ts.example"
    assert dns.split == {"corp.example": ("192.0.2.1",)}
    assert dns.extra_records == (DNSRecord("printer.ts.example", "192.0.2.9", "A"),)
    assert (dns.override_local_dns, dns.nameservers) == (False, ())


def test_nameservers_override_unless_told_otherwise(load: Load) -> None:
    given = "dns:\n  nameservers: {global: [192.0.2.1]}\n"
    assert load(given).tailnet.dns.override_local_dns is True
    assert load(given + "  override_local_dns: false\n").tailnet.dns.override_local_dns is False


def test_one_family_of_addresses_is_enough(load: Load) -> None:
    tailnet = load("prefixes: {v6: 'fd00::/64'}\n").tailnet
    assert (tailnet.prefix_v4, str(tailnet.prefix_v6)) == (None, "fd00::/64")


def test_the_url_follows_the_certificate_and_the_listener(load: Load, tmp_path: Path) -> None:
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text("")
    tls = load("listen_addr: '[2001:db8::1]:443'\ntls_cert_path: c.pem\ntls_key_path: k.pem\n")
    assert tls.tailnet.server_url == "https://[2001:db8::1]:443"
    assert load("server_url: https://hs.example/\n").tailnet.server_url == "https://hs.example"


@pytest.mark.parametrize(
    ("text", "mode", "path"),
    [
        ("", PolicyMode.DATABASE, None),
        ("policy: {path: acl.hujson}", PolicyMode.FILE, "acl.hujson"),
        ("policy: {mode: file, path: ''}", PolicyMode.FILE, None),
        ("policy: {mode: database, path: acl.hujson}", PolicyMode.DATABASE, "acl.hujson"),
        ("policy: {mode: file, path: /etc/acl.hujson}", PolicyMode.FILE, "/etc/acl.hujson"),
    ],
)
def test_a_policy_is_in_the_file_that_is_named_or_in_the_database(
    load: Load, tmp_path: Path, text: str, mode: PolicyMode, path: str | None
) -> None:
    """The peer's default is a file too, but without one nobody could set a policy there."""
    expected = tmp_path / path if path else None
    assert load(text).policy == PolicySettings(mode=mode, path=expected)


@pytest.mark.parametrize("timeout", ["66s", "65001ms", "1h30m"])
def test_an_ephemeral_timeout_is_longer_than_a_change_of_networks(load: Load, timeout: str) -> None:
    config = load(f"node: {{ephemeral: {{inactivity_timeout: {timeout}}}}}\n")
    assert config.tailnet.ephemeral_timeout > timedelta(seconds=65)


def test_the_file_is_the_one_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the variable's, then the first of the usual places."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    asked, named = tmp_path / "a.yaml", tmp_path / "b.yaml"
    assert find_config(asked, {"HEADSCALE_CONFIG": str(named)}) == asked
    assert find_config(None, {"HEADSCALE_CONFIG": str(named)}) == named
    if not Path("/etc/headscale/config.yaml").exists():
        assert find_config(None, {}) is None
        Path("config.yaml").write_text("")
        assert find_config(None, {}) == Path("config.yaml")
        (tmp_path / ".headscale").mkdir()
        (tmp_path / ".headscale" / "config.yaml").write_text("")
        assert find_config(None, {}) == tmp_path / ".headscale" / "config.yaml"


def test_a_file_that_is_not_there_is_a_complaint(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"none\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "none.yaml", {})
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadConfig, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml", {})


def test_data_live_where_we_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's place for root, the user's own state directory for others."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    assert default_data_dir() == Path("/home/me/state/headscale")
    assert default_socket(Path("/data")) == Path("/data/headscale.sock")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    assert default_data_dir() == Path("/var/lib/headscale")
    assert default_socket(default_data_dir()) == Path("/var/run/headscale/headscale.sock")


def test_equal_texts_are_equal_configurations(load: Load) -> None:
    """A value, to compare and to log."""
    assert load(EXAMPLE.read_text(), HEADSCALE_DERP_SERVER_ENABLED="1") == replace(
        load(EXAMPLE.read_text(), HEADSCALE_DERP_SERVER_ENABLED="1")
    )


def test_a_nameserver_is_an_address_or_dns_over_https(load: Load) -> None:
    """Ports are for tests and inner networks; clients take them (tailscale, types/dnstype, IPPort)."""
    servers = ("192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:53", "https://dns.example/query")
    quoted = ", ".join(f"'{server}'" for server in servers)
    assert load(f"dns: {{nameservers: {{global: [{quoted}]}}}}").tailnet.dns.nameservers == servers


def test_search_domains_and_routes_are_names_in_lower_case(load: Load) -> None:
    dns = load(
        "dns:\n  search_domains: [Corp.Example.]\n  nameservers: {split: {Lab.Example.: [192.0.2.1]}}"
    ).tailnet.dns
    assert dns.search_domains == ("corp.example",)
    assert dns.split == {"lab.example": ("192.0.2.1",)}
