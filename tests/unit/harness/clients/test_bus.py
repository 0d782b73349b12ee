"""Notifications in words."""

from harness.clients.bus import told


def test_news_are_told() -> None:
    """States by name, peers by number, health by its titles."""
    notification = {
        "State": 6,
        "PeersChanged": [{}, {}],
        "Health": {"Warnings": {"x": {"Title": "Tailscale off"}, "y": {}}},
        "ErrMessage": "no such host",
    }
    assert told(notification) == {
        "state": "Running",
        "peers changed": 2,
        "health": ["Tailscale off", "y"],
        "error": "no such host",
    }


def test_a_login_page_is_told_without_its_address() -> None:
    """Who has the address logs in."""
    assert told({"BrowseToURL": "https://vpn.example.com/register/abc"}) == {
        "login": "a page to log in at is shown"
    }


def test_counters_are_no_news() -> None:
    """Bytes and preferences change all the time."""
    assert told({"Engine": {"RBytes": 5}, "Prefs": {}}) == {}
