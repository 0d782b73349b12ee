"""Which server the commands talk to."""

import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from headscale.cli.framework import Failed
from headscale.cli.reach import NoServer, Server, server_of
from headscale.config.settings import Config, Listen
from tests.builders import SETTINGS

KEY = "hskey-api-000102030405-" + "a" * 64
LOCAL = Config(
    source=None,
    data_dir=Path("/data"),
    listen=Listen(host="", port=8080),
    noise_key_path=Path("/data/noise"),
    sqlite_path=Path("/data/db"),
    unix_socket=Path("/run/h.sock"),
    tailnet=SETTINGS,
)


def elsewhere(address: str, **more: object) -> Config:
    return replace(LOCAL, cli_address=address, **{"cli_api_key": KEY, **more})  # type: ignore[arg-type]


def test_without_an_address_it_is_the_socket_and_nobody_gets_the_key() -> None:
    server = server_of(replace(LOCAL, cli_api_key=KEY))
    assert (server.socket, server.name, dict(server.headers)) == ("/run/h.sock", "/run/h.sock", {})


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("h.example.com", "https://h.example.com"),
        ("h.example.com:8443", "https://h.example.com:8443"),
        ("https://h.example.com/", "https://h.example.com"),
        ("https://proxy.example.com/headscale/", "https://proxy.example.com/headscale"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("[2001:db8::1]:443", "https://[2001:db8::1]:443"),
    ],
)
def test_an_address_is_https_unless_it_says_otherwise(address: str, url: str) -> None:
    server = server_of(elsewhere(address))
    assert (server.url, server.socket, server.is_verified) == (url, "", True)
    assert server.headers == {"Authorization": f"Bearer {KEY}"}
    assert KEY not in repr(server)
    assert KEY not in repr(elsewhere(address))


@pytest.mark.parametrize(
    "address",
    [
        "ftp://h",
        "https://",
        "h:99999",
        "h:x",
        "https://user:password@h",
        "https://h?x=1",
        "https://[::1",
        "h#x",
    ],
)
def test_what_is_no_address_is_said_without_repeating_it(address: str) -> None:
    """It may hold a password."""
    with pytest.raises(Failed, match=r"cli\.address: expected for example") as failure:
        server_of(elsewhere(address))
    assert "password" not in str(failure.value)


def test_without_a_key_it_says_how_to_get_one() -> None:
    with pytest.raises(Failed, match="HEADSCALE_CLI_API_KEY environment variable needs to be set"):
        server_of(elsewhere("h.example.com", cli_api_key=""))


def test_why_a_server_cannot_be_reached_for_good() -> None:
    """A certificate, no TLS, no permission; whatever else may pass."""
    there = server_of(elsewhere("h.example.com"))
    here = Server(name="/run/h.sock", url="http://headscale", socket="/run/h.sock")
    untrusted = ssl.SSLCertVerificationError()
    untrusted.verify_message = "self-signed certificate"
    assert "cannot be trusted: self-signed certificate" in str(there.why_not(untrusted))
    assert "HEADSCALE_CLI_INSECURE=true" in str(there.why_not(untrusted))
    assert "does not speak TLS" in str(there.why_not(ssl.SSLError()))
    assert isinstance(here.why_not(PermissionError()), NoServer)
    assert there.why_not(PermissionError()) is None
    assert there.why_not(ConnectionRefusedError()) is None


@pytest.mark.parametrize("key", ["hskey\nX-Other: 1", "sch\u00fcssel"])
def test_what_is_no_key_is_said_without_repeating_it(key: str) -> None:
    """It would be a header of its own, or none at all."""
    with pytest.raises(Failed, match=r"cli\.api_key is not an API key") as failure:
        server_of(elsewhere("h.example.com", cli_api_key=key))
    assert key not in str(failure.value)
