"""The keys of the server's own certificate from an authority."""

from pathlib import Path
from typing import Any

import pytest

from headscale.acme import keeper
from headscale.acme.keeper import Keeper
from headscale.clock import SystemClock
from headscale.config.file import BadConfig, load_config
from headscale.config.settings import ACMESettings, Challenge, Listen
from headscale.errors import Unavailable


def loaded(tmp_path: Path, **keys: Any) -> ACMESettings | None:
    """The settings that these keys come to."""
    file = tmp_path / "config.yaml"
    file.write_text("".join(f"{name}: {value!r}\n" for name, value in keys.items()))
    return load_config(file, {"HEADSCALE_DATA_DIR": str(tmp_path)}).acme


def test_a_name_is_enough(tmp_path: Path) -> None:
    settings = loaded(tmp_path, tls_letsencrypt_hostname="HS.Example.com.")
    assert settings == ACMESettings(
        hostname="hs.example.com",
        directory="https://acme-v02.api.letsencrypt.org/directory",
        email="",
        cache=tmp_path / "acme",
        challenge=Challenge.HTTP,
        listen=Listen(host="", port=80),
    )


def test_what_the_go_headscale_calls_them(tmp_path: Path) -> None:
    """Its example file has all but the name; paths are relative to the file."""
    given = {
        "acme_url": "https://ca.example/dir",
        "acme_email": "ops@example.com",
        "tls_letsencrypt_cache_dir": "cache",
        "tls_letsencrypt_challenge_type": "TLS-ALPN-01",
        "tls_letsencrypt_listen": ":http",
    }
    assert loaded(tmp_path, **given, tls_letsencrypt_hostname="") is None
    settings = loaded(tmp_path, **given, tls_letsencrypt_hostname="hs.example.com")
    assert settings is not None
    assert (settings.directory, settings.email) == ("https://ca.example/dir", "ops@example.com")
    assert (settings.cache, settings.challenge) == (tmp_path / "cache", Challenge.TLS_ALPN)
    assert settings.listen == Listen(host="", port=80)


def test_the_server_is_an_https_one(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("tls_letsencrypt_hostname: hs.example.com\nlisten_addr: 127.0.0.1:443\n")
    config = load_config(file, {"HEADSCALE_DATA_DIR": str(tmp_path)})
    assert config.tailnet.server_url.startswith("https://")


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"tls_letsencrypt_hostname": "hs example"}, "is no host name"),
        ({"tls_letsencrypt_hostname": "hs"}, "is no public name"),
        (
            {"tls_letsencrypt_hostname": "hs.example", "acme_url": "http://ca.example"},
            "must be an https:// URL",
        ),
        (
            {"tls_letsencrypt_hostname": "hs.example", "tls_letsencrypt_challenge_type": "DNS-01"},
            "TLS-ALPN-01",
        ),
        ({"tls_letsencrypt_hostname": "hs.example", "tls_letsencrypt_listen": "http"}, "host:port"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, keys: dict[str, str], complaint: str) -> None:
    with pytest.raises(BadConfig, match=complaint):
        loaded(tmp_path, **keys)


def test_there_are_files_or_an_authority(tmp_path: Path) -> None:
    for name in ("a.crt", "a.key"):
        (tmp_path / name).touch()
    files = {"tls_cert_path": "a.crt", "tls_key_path": "a.key"}
    with pytest.raises(BadConfig, match="not both"):
        loaded(tmp_path, **files, tls_letsencrypt_hostname="hs.example")


def test_without_the_library_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(tmp_path, tls_letsencrypt_hostname="hs.example")
    assert settings is not None
    monkeypatch.setattr(keeper, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"headscale\[acme\]"):
        Keeper(settings, SystemClock())
