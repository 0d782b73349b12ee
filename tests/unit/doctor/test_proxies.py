"""Who is in front, by what it says. The answers are recorded ones."""

import pytest

from headscale.doctor.proxies import provoked, proxy_of
from headscale.doctor.wire import Answer

OURS = {"server": "Python/3.11 aiohttp/3.14.5"}


def answer(headers: dict[str, str], body: bytes = b"", status: int = 200) -> Answer:
    return Answer(status, "", headers, body)


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"server": "nginx/1.22.1"}, "nginx"),
        ({"server": "openresty"}, "nginx"),
        ({"server": "cloudflare"}, "Cloudflare"),
        ({**OURS, "cf-ray": "8a1b-FRA"}, "Cloudflare"),
        ({**OURS, "via": "1.1 Caddy"}, "Caddy"),
        ({"server": "Caddy, Python/3.11 aiohttp/3.14.5"}, "Caddy"),
        ({"server": "istio-envoy"}, "Envoy"),
        ({**OURS, "via": "1.1 somebody"}, "the proxy"),
        ({"server": "Acme/1"}, "the proxy"),
        ({}, "the proxy"),
        (OURS, None),
    ],
)
def test_an_answer_shows_who_passed_it_on(headers: dict[str, str], name: str | None) -> None:
    found = proxy_of(answer(headers))
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("headers", "body", "name"),
    [
        (
            {"content-type": "text/html", "content-length": "90"},
            b"<html><body><h1>400 Bad request</h1>\nYour browser sent an invalid request.\n</body></html>\n",
            "HAProxy",
        ),
        (
            {"content-type": "text/plain; charset=utf-8"},
            b"400 Bad Request",
            "Caddy, Traefik or another proxy in Go",
        ),
        ({"server": "Apache/2.4.71 (Debian)", "content-type": "text/html"}, b"<!DOCTYPE", "Apache"),
        ({**OURS, "content-type": "text/plain; charset=utf-8"}, b"Invalid header token:", None),
        ({"content-type": "text/html"}, b"<h1>no</h1>", "the proxy"),
    ],
)
def test_who_hides_shows_itself_when_it_is_asked_nonsense(
    headers: dict[str, str], body: bytes, name: str | None
) -> None:
    found = provoked(answer(headers, body, 400))
    assert (found.name if found else None) == name
