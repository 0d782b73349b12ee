"""What stands in front of the server, by what it says of itself, and what it needs to let clients through."""

from dataclasses import dataclass
from typing import Final

from headscale.doctor.wire import Answer


@dataclass(frozen=True, slots=True)
class Proxy:
    """A kind of proxy: how it is called, what shows it (in the Server header), and what it needs for upgrades."""

    name: str
    signs: tuple[str, ...]
    upgrades: str


UNKNOWN: Final = Proxy(
    "the proxy",
    (),
    "It has to pass `Upgrade` and `Connection` on, for POST as well as for GET, over HTTP/1.1",
)
PROXIES: Final = (
    Proxy(
        "Cloudflare",
        ("cloudflare",),
        "Cloudflare passes no upgrade of a POST, neither as a proxy nor as a tunnel: let the name point to the server "
        "itself (DNS only, grey cloud)",
    ),
    Proxy(
        "nginx",
        ("nginx", "openresty"),
        "nginx needs `proxy_http_version 1.1;`, `proxy_set_header Upgrade $http_upgrade;` and "
        "`proxy_set_header Connection $connection_upgrade;` (with the map for it) in the location",
    ),
    Proxy(
        "Caddy",
        ("caddy",),
        "Caddy passes upgrades by itself: see that the site is a plain `reverse_proxy` without `header_up -Upgrade` "
        "or a `handle` before it",
    ),
    Proxy(
        "Apache",
        ("apache",),
        "Apache needs 2.4.47 or newer and `ProxyPass / http://127.0.0.1:8080/ upgrade=any` (mod_proxy_http)",
    ),
    Proxy(
        "Traefik",
        ("traefik",),
        "Traefik passes upgrades by itself: see that no middleware (buffering, compress) is on this router",
    ),
    Proxy(
        "HAProxy",
        ("haproxy",),
        "HAProxy needs `mode http` with `timeout tunnel 1h`, and no `option httpclose`",
    ),
    Proxy(
        "Envoy",
        ("envoy", "istio"),
        "Envoy needs `upgrade_configs` with `upgrade_type: tailscale-control-protocol`, `DERP` and `websocket`",
    ),
)
# Go's own HTTP server says no more than this about a malformed request.
GO: Final = Proxy(
    "Caddy, Traefik or another proxy in Go",
    (),
    "Caddy and Traefik pass upgrades by themselves: see that nothing removes headers (Caddy: `header_up -Upgrade`) or "
    "buffers (Traefik: the buffering and compress middlewares) for this name",
)
HAPROXY: Final = next(proxy for proxy in PROXIES if proxy.name == "HAProxy")
# What answers itself so is our own server.
OURS: Final = "aiohttp"


def proxy_of(answer: Answer) -> Proxy | None:
    """The proxy that gave this answer; None for our server's own, as far as can be seen."""
    text = f"{answer.server} {answer.headers.get('via', '')}".lower()
    if "cf-ray" in answer.headers:
        return PROXIES[0]
    found = next((proxy for proxy in PROXIES if any(sign in text for sign in proxy.signs)), None)
    if found is None and "via" in answer.headers:
        return UNKNOWN
    return found if found is not None or OURS in text else UNKNOWN


def provoked(answer: Answer) -> Proxy | None:
    """The proxy that answered a malformed request by itself; None for our own server.

    Many pass our server's name on in good answers. What they say themselves was recorded from HAProxy 2.6.12, Caddy
    2.6.2 and Apache 2.4.71.
    """
    if "server" in answer.headers:
        return proxy_of(answer)
    if b"Your browser sent an invalid request." in answer.body:
        return HAPROXY
    is_plain = answer.headers.get("content-type", "").startswith("text/plain")
    return GO if is_plain and answer.body.startswith(b"400 Bad Request") else UNKNOWN
