"""What a scenario wants of a server's configuration."""

from pathlib import Path

from harness.servers.configuration import FILE, Configuration, nested
from headscale.config.file import load_config


def test_keys_with_dots_are_sections() -> None:
    assert nested({"dns.magic_dns": False, "dns.nameservers.split": {"a.b": []}, "x": 1}) == {
        "dns": {"magic_dns": False, "nameservers": {"split": {"a.b": []}}},
        "x": 1,
    }


def test_the_file_has_the_scenarios_keys_over_the_basis(tmp_path: Path) -> None:
    """As our server reads it; files are found by their name alone."""
    wanted = Configuration(
        {"dns.base_domain": "b.example", "dns.extra_records_path": "r.json"}, {"r.json": "[]"}
    )
    wanted.write(tmp_path, basis={"dns.base_domain": "a.example", "logtail.enabled": True})
    config = load_config(tmp_path / FILE, {})
    assert config.tailnet.dns.base_domain == "b.example"
    assert config.tailnet.log_tail is True
    assert config.extra_records_path == tmp_path / "r.json"


def test_nothing_wanted_is_an_empty_configuration(tmp_path: Path) -> None:
    Configuration().write(tmp_path)
    assert load_config(tmp_path / FILE, {}).later == ()
