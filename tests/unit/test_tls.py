"""The server's own certificate."""

import hashlib
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from headscale import tls
from headscale.errors import Malformed, Unavailable

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NAMES = ["derp.example.com", "192.0.2.1", "2001:db8::1"]


def paths(folder: Path) -> dict[str, Path]:
    return {"certificate_path": folder / "derp.crt", "key_path": folder / "derp.key"}


def test_a_certificate_is_for_its_names(tmp_path: Path) -> None:
    """Host names and addresses alike, and no other."""
    server = tls.create_certificate(NAMES, now=NOW)
    assert tls.serves(server.certificate, NAMES, now=NOW)
    assert not tls.serves(server.certificate, [*NAMES, "other.example.com"], now=NOW)


def test_a_certificate_tolerates_a_slow_clock_and_lasts() -> None:
    """A day early and nine years on it serves; close to its end it does not."""
    server = tls.create_certificate(NAMES, now=NOW)
    end = server.certificate.not_valid_after_utc
    for moment in (NOW - timedelta(days=1), NOW + timedelta(days=9 * 365), end - timedelta(days=31)):
        assert tls.serves(server.certificate, NAMES, now=moment)
    assert not tls.serves(server.certificate, NAMES, now=end - timedelta(days=30))


def test_the_pin_is_the_hash_of_the_der() -> None:
    """Clients compare the lower-case hex."""
    server = tls.create_certificate(NAMES, now=NOW)
    der = server.certificate.public_bytes(Encoding.DER)
    assert tls.pin(server.certificate) == "sha256-raw:" + hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize("names", [[], ["bücher.example"]])
def test_impossible_names_are_malformed(names: list[str]) -> None:
    """None, or one that is not ASCII."""
    with pytest.raises(Malformed):
        tls.create_certificate(names, now=NOW)


def test_a_long_name_fits() -> None:
    """The common name is cut, the alternative name is whole."""
    name = "a" * 60 + ".example.com"
    assert tls.serves(tls.create_certificate([name], now=NOW).certificate, [name], now=NOW)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """And made only once; nobody else may read the key."""
    first = tls.load_or_create(NAMES, now=NOW, **paths(tmp_path / "new"))
    again = tls.load_or_create(NAMES[:1], now=NOW, **paths(tmp_path / "new"))
    assert first.certificate == again.certificate
    assert stat.S_IMODE((tmp_path / "new" / "derp.key").stat().st_mode) == 0o600


def test_a_new_name_makes_a_new_certificate(tmp_path: Path) -> None:
    """Otherwise no client could reach the relay under it."""
    first = tls.load_or_create(NAMES, now=NOW, **paths(tmp_path))
    second = tls.load_or_create(["new.example.com"], now=NOW, **paths(tmp_path))
    assert first.certificate != second.certificate
    assert tls.load_certificate(**paths(tmp_path)).certificate == second.certificate


def test_files_that_cannot_be_used_are_left_alone(tmp_path: Path) -> None:
    """One missing, not PEM, or of two pairs: a complaint, no overwriting."""
    tls.load_or_create(NAMES, now=NOW, **paths(tmp_path))
    key = (tmp_path / "derp.key").read_bytes()
    for content in (b"", b"not a key", tls_key(tmp_path / "other")):
        (tmp_path / "derp.key").write_bytes(content)
        with pytest.raises(Unavailable):
            tls.load_or_create(NAMES, now=NOW, **paths(tmp_path))
        assert (tmp_path / "derp.key").read_bytes() == content
    (tmp_path / "derp.key").write_bytes(key)
    (tmp_path / "derp.crt").unlink()
    with pytest.raises(Unavailable):
        tls.load_or_create(NAMES, now=NOW, **paths(tmp_path))


def tls_key(folder: Path) -> bytes:
    """The key of another pair."""
    tls.load_or_create(NAMES, now=NOW, **paths(folder))
    return (folder / "derp.key").read_bytes()


def test_the_context_serves_it(tmp_path: Path) -> None:
    """From TLS 1.2 on."""
    tls.load_or_create(NAMES, now=NOW, **paths(tmp_path))
    context = tls.server_context(**paths(tmp_path))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_context_without_files_is_unavailable(tmp_path: Path) -> None:
    """The complaint names them."""
    with pytest.raises(Unavailable, match=r"derp\.crt"):
        tls.server_context(**paths(tmp_path))


def test_the_key_does_not_print() -> None:
    """Only the pin does."""
    server = tls.create_certificate(NAMES, now=NOW)
    assert repr(server) == f"ServerCertificate({tls.pin(server.certificate)})"
