"""Single values: durations and listen addresses."""

from datetime import timedelta

import pytest

from headscale.config.settings import Listen
from headscale.config.values import parse_duration, parse_listen, parse_long_duration
from headscale.errors import Malformed

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "long"),
    [
        ("0", timedelta()),
        ("1h30m", 1.5 * HOUR),
        ("1.5h", 1.5 * HOUR),
        ("300ms", timedelta(milliseconds=300)),
        ("10us", timedelta(microseconds=10)),
        ("10µs", timedelta(microseconds=10)),
        ("24h0m0s", 24 * HOUR),
    ],
)
def test_go_durations(text: str, long: timedelta) -> None:
    assert parse_duration(text) == long
    assert parse_long_duration(text) == long


@pytest.mark.parametrize(
    ("text", "long"), [("30d", 720 * HOUR), ("1w", 168 * HOUR), ("1y2d", 367 * 24 * HOUR)]
)
def test_days_weeks_and_years_only_where_they_make_sense(text: str, long: timedelta) -> None:
    assert parse_long_duration(text) == long
    with pytest.raises(Malformed, match="is not a unit here"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "30", "-1h", "1h 30m", "1H", "m", "1m30", "9" * 400 + "h", "9999999999999999h"]
)
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(Malformed):
        parse_long_duration(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":8080", "", 8080),
        ("0.0.0.0:1", "0.0.0.0", 1),
        ("[::]:65535", "::", 65535),
        ("[fe80::1]:80", "fe80::1", 80),
        ("localhost:80", "localhost", 80),
    ],
)
def test_where_to_listen(text: str, host: str, port: int) -> None:
    assert parse_listen(text) == Listen(host=host, port=port)


@pytest.mark.parametrize(
    "text",
    ["", "8080", "host", "host:", "host:0", "host:65536", "::1:80", "[::1:80", "::1]:80", "[:80", "h:８０"],
)
def test_nowhere_to_listen(text: str) -> None:
    with pytest.raises(Malformed, match="is not host:port"):
        parse_listen(text)
