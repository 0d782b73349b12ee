"""The listener for operators: `/metrics` for everybody who reaches it, `/debug/` for this machine and the tailnet.

It is never the main listener. A request that a proxy passed on (any X-Forwarded-For) may not see debug pages, because
its address says nothing of who asked.
"""

import asyncio
import gc
import gzip
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import hdrs, web

from headscale.errors import HeadscaleError, Unavailable
from headscale.monitoring import html, pages
from headscale.monitoring.health import State
from headscale.monitoring.metrics import Metrics
from headscale.monitoring.vitals import Vitals, node_called

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Page = Callable[[Vitals, Mapping[str, str]], pages.Document]

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Where tailnets have their addresses, whatever the operator's own prefixes are.
TAILNET: Final = (IPv4Network("100.64.0.0/10"), IPv6Network("fd7a:115c:a1e0::/48"))
PAGES: Final[Mapping[str, Page]] = {
    "overview": pages.overview,
    "config": pages.config,
    "policy": pages.policy,
    "policy-manager": pages.policy_manager,
    "filter": pages.filters,
    "ssh": pages.ssh,
    "derp": pages.derp,
    "nodestore": pages.nodestore,
    "routes": pages.routes,
    "registration-cache": pages.registration_cache,
    "mapresponses": pages.mapresponses,
    "batcher": pages.batcher,
    "tasks": pages.tasks,
    "vars": pages.variables,
}
# What these look at changes while the event loop turns, so that they are made in its thread; all others beside it.
_IN_LOOP: Final = frozenset({"mapresponses", "batcher", "tasks", "vars", "registration-cache"})
_OF_A_NODE: Final = frozenset({"filter", "ssh", "mapresponses"})
_ECHO: Final = "/echo"


class OperatorPages:
    """Routes of the listener for operators."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals
        self._metrics = Metrics(vitals)
        self._turn = asyncio.Lock()

    def application(self) -> web.Application:
        """All of it."""
        app = web.Application(middlewares=[self._guard], client_max_size=4096)
        app.add_routes(
            [
                web.get("/", self._to_index),
                web.get("/metrics", self._scrape),
                web.get("/debug", self._to_index),
                web.get("/debug/", self._index),
                web.get("/debug/ping", self._ping),
                web.post("/debug/ping", self._ping),
                web.get("/debug/gc", self._collector),
                web.post("/debug/gc", self._collect),
                *(web.get(f"/debug/{name}", self._page(name, page)) for name, page in PAGES.items()),
            ]
        )
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/debug") and not self._may_look(request):
            return web.Response(
                status=HTTPStatus.FORBIDDEN,
                text="debug pages are for this machine and for the tailnet, asked for by address or by a name of "
                "this server, and not through a proxy\n",
            )
        try:
            return await handler(request)
        except HeadscaleError as problem:
            return web.Response(status=problem.status, text=f"{problem}\n")
        except web.HTTPException:
            raise
        except Exception:
            log.exception("a page for operators failed path=%s", request.path)
            return web.Response(status=500, text="internal error: the server's log has the cause\n")

    def _may_look(self, request: web.Request) -> bool:
        if hdrs.X_FORWARDED_FOR in request.headers or not self._is_ours(request):
            return False
        try:
            address = ip_address((request.remote or "").partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        settings = self._vitals.snapshot.settings
        prefixes = (*TAILNET, settings.prefix_v4, settings.prefix_v6)
        return address.is_loopback or any(prefix is not None and address in prefix for prefix in prefixes)

    def _is_ours(self, request: web.Request) -> bool:
        """Whether it was asked for by an address or a name of ours: a web page elsewhere, opened in a browser on this
        machine, could have its own name lead here, or send a form here."""
        if request.headers.get("Sec-Fetch-Site") == "cross-site":
            return False
        settings = self._vitals.snapshot.settings
        host = (urlsplit(f"//{request.host}").hostname or "").rstrip(".")
        base = settings.dns.base_domain
        is_known = host == urlsplit(settings.server_url).hostname or (base and host.endswith(f".{base}"))
        return bool(is_known) or "." not in host or _is_address(host)

    async def _scrape(self, request: web.Request) -> web.Response:
        """One scrape at a time, beside the event loop."""
        state = await self._vitals.health.state()
        is_packed = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
        async with self._turn:
            body = await asyncio.to_thread(self._rendered, state, is_packed=is_packed)
        packed = {hdrs.CONTENT_ENCODING: "gzip"} if is_packed else {}
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: METRICS_TYPE, **packed})

    def _rendered(self, state: State, *, is_packed: bool) -> bytes:
        text = self._metrics.render(state)
        return gzip.compress(text, compresslevel=1) if is_packed else text

    async def _to_index(self, request: web.Request) -> web.Response:
        raise web.HTTPFound("/debug/")

    async def _index(self, request: web.Request) -> web.Response:
        names = sorted([*PAGES, "gc", "ping"])
        if _wants_json(request):
            return _json({"pages": [f"/debug/{name}" for name in names], "metrics": "/metrics"})
        links = "".join(f"<li><a href='/debug/{name}'>{name}</a></li>" for name in names)
        return _html("debug", {}, form=f"<ul>{links}<li><a href='/metrics'>metrics</a></li></ul>")

    def _page(self, name: str, page: Page) -> Handler:
        async def show(request: web.Request) -> web.Response:
            if name in _IN_LOOP:
                document = page(self._vitals, request.query)
            else:
                document = await asyncio.to_thread(page, self._vitals, request.query)
            form = html.node_form(request.query.get("node", "")) if name in _OF_A_NODE else ""
            if _wants_json(request):
                return await asyncio.to_thread(_json, document)
            return await asyncio.to_thread(_html, name, document, form=form)

        return show

    async def _ping(self, request: web.Request) -> web.Response:
        """Ask a node's client whether it answers."""
        posted = await request.post() if request.method == "POST" else {}
        text = str(posted.get("node") or request.query.get("node", ""))
        if not text:
            document: pages.Document = {"hint": "add ?node= with an id, an address or a name"}
        else:
            document = await self._pinged(text)
        return _json(document) if _wants_json(request) else _html("ping", document, form=html.node_form(text))

    async def _pinged(self, text: str) -> pages.Document:
        node = node_called(self._vitals.snapshot, text)
        clock = self._vitals.clock
        began = clock.monotonic()
        reason = ""
        try:
            echoed = await self._vitals.questions.ask(node, method="POST", path=_ECHO, body=b"ping")
            if echoed.status != HTTPStatus.OK or echoed.body != b"ping":
                reason = f"an echo with status {echoed.status}"
        except Unavailable as problem:
            reason = str(problem)
        took = clock.monotonic() - began
        return {"node": node.given_name, "answered": not reason, "seconds": round(took, 4), "reason": reason}

    async def _collector(self, request: web.Request) -> web.Response:
        document = pages.collector(self._vitals, request.query)
        return (
            _json(document)
            if _wants_json(request)
            else _html("gc", document, form=html.button("Collect now"))
        )

    async def _collect(self, request: web.Request) -> web.Response:
        """Run the collector now: the server stands still meanwhile."""
        found = gc.collect()
        document = {"unreachable": found, **pages.collector(self._vitals, request.query)}
        return (
            _json(document)
            if _wants_json(request)
            else _html("gc", document, form=html.button("Collect now"))
        )


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _wants_json(request: web.Request) -> bool:
    return "application/json" in request.headers.get(hdrs.ACCEPT, "")


def _json(document: pages.Document) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")


def _html(title: str, document: pages.Document, *, form: str = "") -> web.Response:
    return web.Response(text=html.page(title, document, form=form), content_type="text/html")
