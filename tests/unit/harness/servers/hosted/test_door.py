"""Where a control server's REST v2 is."""

import pytest

from harness.servers.hosted.door import Door, api_of


@pytest.mark.parametrize(
    ("control", "api"),
    [
        ("https://hs.example.com/", "https://hs.example.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://controlplane.tailscale.com", "https://api.tailscale.com"),
        ("https://login.tailscale.com", "https://api.tailscale.com"),
    ],
)
def test_only_the_hosted_service_has_another_host_for_it(control: str, api: str) -> None:
    assert api_of(control) == api


def test_an_oauth_clients_secret_is_known_by_its_beginning() -> None:
    assert Door("http://x", "tskey-client-k1-s").is_oauth
    assert not Door("http://x", "tskey-api-k1-s").is_oauth
