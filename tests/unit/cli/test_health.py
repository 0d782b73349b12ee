"""Where `headscale health` looks for the main listener."""

from pathlib import Path

import pytest

from headscale.cli.health import listener_url
from headscale.config.file import read_config


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("'[::]:443'", "http://[::1]:443"),
        ("'[fd00::1]:443'", "http://[fd00::1]:443"),
        ("192.0.2.7:8080", "http://192.0.2.7:8080"),
    ],
)
def test_a_listener_is_looked_for_where_it_listens(listen: str, url: str) -> None:
    """One of all addresses on the loopback, in the family that it has."""
    assert listener_url(read_config(Path("/c.yaml"), f"listen_addr: {listen}", {})) == url


def test_a_listener_with_a_certificate_is_asked_over_tls() -> None:
    text = "{listen_addr: ':443', server_url: 'https://hs.example.com', tls_letsencrypt_hostname: hs.example.com}"
    assert listener_url(read_config(Path("/c.yaml"), text, {})) == "https://127.0.0.1:443"
