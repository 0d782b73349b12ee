"""Metrics and debug pages of a running server, on a listener of their own."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from prometheus_client.parser import text_string_to_metric_families

from harness.ports import free_port
from harness.servers.configuration import Configuration
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from headscale.monitoring.listener import PAGES, OperatorPages
from headscale.monitoring.series import FAMILIES
from tests.integration.fakes import EPHEMERAL_TIMEOUT, GRACE, Tailnet, until

# What operators may have in their configuration and must never see again.
SECRETS = {
    "cli.api_key": "hskey-api-plantedplant-" + "p" * 64,
    "oidc.client_secret": "planted-oidc-secret",
    "database.postgres.pass": "planted-postgres-password",
    "dns.certificates.rfc2136.tsig_secret": base64.b64encode(b"planted-tsig-secret-").decode(),
}
KEYS: dict[str, Any] = {
    **SECRETS,
    "dns.base_domain": "tailnet.example",
    "dns.certificates.backend": "rfc2136",
    "dns.certificates.rfc2136.server": "127.0.0.1:5353",
    "dns.certificates.rfc2136.zone": "tailnet.example",
    "dns.certificates.rfc2136.tsig_name": "key",
}


class Operator:
    """Looks at a server's pages."""

    def __init__(
        self, server: InProcessServer, tailnet: Tailnet, url: str, session: aiohttp.ClientSession
    ) -> None:
        self.server = server
        self.tailnet = tailnet
        self.url = url
        self.session = session

    async def get(self, path: str, *, json: bool = False, **headers: str) -> tuple[int, str]:
        """Status and text."""
        accept = {"Accept": "application/json"} if json else {}
        async with self.session.get(self.url + path, headers={**accept, **headers}) as answer:
            return answer.status, await answer.text()

    async def document(self, page: str) -> Any:
        """A debug page as JSON."""
        async with self.session.get(
            f"{self.url}/debug/{page}", headers={"Accept": "application/json"}
        ) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def samples(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """The metrics, by name."""
        async with self.session.get(f"{self.url}/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = await answer.text()
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    async def value(self, name: str, **labels: str) -> float:
        """The one sample with these labels."""
        [value] = [v for has, v in (await self.samples())[name] if labels.items() <= has.items()]
        return value

    async def until_in_flight(self, number: int) -> None:
        """Wait until so many requests wait for their answer."""
        async with asyncio.timeout(10):
            while await self.value("http_requests_inflight") != number:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@asynccontextmanager
async def operating(**keys: Any) -> AsyncIterator[Operator]:
    port = free_port("127.0.0.1")
    configuration = Configuration(keys={"metrics_listen_addr": f"127.0.0.1:{port}", **keys})
    settings = local_settings("127.0.0.1", ephemeral_timeout=EPHEMERAL_TIMEOUT, configuration=configuration)
    server = InProcessServer(settings, grace=GRACE)

    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.close)
        await server.start()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        tailnet = Tailnet(server, stack)
        await server.create_user("alice")
        yield Operator(server, tailnet, f"http://127.0.0.1:{port}", session)


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    async with operating() as made:
        yield made


async def test_the_tailnet_is_in_the_metrics(operator: Operator) -> None:
    one = await operator.tailnet.join("one")
    await operator.tailnet.join("two", ephemeral=True)
    stream = await one.stream()
    found = await operator.samples()
    assert {has["state"]: value for has, value in found["headscale_nodes_state"]} == {
        "online": 1,
        "offline": 1,
        "expired": 0,
        "waiting": 0,
    }
    assert {has["name"]: value for has, value in found["headscale_nodes_online"]} == {"one": 1, "two": 0}
    assert found["headscale_mapresponse_streams"] == [({}, 1)]
    assert found["headscale_up"] == found["headscale_health_database_connectivity"] == [({}, 1)]
    assert len(found["headscale_preauthkeys_info"]) == 2
    assert found["process_resident_memory_bytes"][0][1] > 1_000_000
    assert stream.netmap.updates


async def test_what_the_server_did_is_counted(operator: Operator) -> None:
    one, two = await operator.tailnet.join("one"), await operator.tailnet.join("two")
    stream = await one.stream()
    before = await operator.samples()
    await two.client.lite_update(endpoints=["192.0.2.1:41641"])
    await until(stream, lambda netmap: netmap.peers[two.id].get("Endpoints") == ["192.0.2.1:41641"])
    after = await operator.samples()

    def grew(name: str, **labels: str) -> float:
        was, now = (
            sum(v for has, v in found.get(name, ()) if labels.items() <= has.items())
            for found in (before, after)
        )
        return now - was

    assert grew("headscale_mapresponse_sent_total", status="ok") == 1
    assert grew("headscale_mapresponse_endpoint_updates_total", status="ok") == 1
    assert grew("headscale_nodestore_operations_total", operation="report") == 1
    assert grew("headscale_change_latency_seconds_count") == 1
    assert grew("headscale_database_commit_duration_seconds_count") == 1
    assert 0 < grew("headscale_change_latency_seconds_sum") < 5
    assert grew("headscale_mapresponse_sent_bytes_total") > 10


async def test_how_a_stream_ended_is_counted(operator: Operator) -> None:
    """A client that goes away is another thing than one that takes a newer stream, and one that is deleted."""
    one, two = await operator.tailnet.join("one"), await operator.tailnet.join("two")
    await one.stream()
    await one.stream()
    await two.stream()
    await operator.server.delete_node(str(two.id))
    await one.client.close()
    wanted = {"replaced": 1, "deleted": 1, "lost": 1}

    async with asyncio.timeout(10):
        while True:
            found = (await operator.samples()).get("headscale_mapresponse_ended_total", ())
            if {has["reason"]: value for has, value in found} == wanted:
                break
            await asyncio.sleep(0.02)


async def test_requests_are_counted_by_route(operator: Operator) -> None:
    """By route and not by path, or anybody could make series; requests through a login page's URL, for one."""
    for path in ("/health", "/health", "/register/abc", "/nowhere", "/else"):
        async with operator.session.get(operator.server.url + path) as answer:
            await answer.read()
    found = (await operator.samples())["http_requests_total"]
    counted = {(has["endpoint"], has["status"]): value for has, value in found}
    assert counted["/health", "200"] == 2
    assert counted["unknown", "404"] == 2
    assert await operator.value("http_requests_inflight") == 0
    assert await operator.value("http_request_duration_seconds_count", endpoint="/health") == 2
    assert not [endpoint for endpoint, _ in counted if "abc" in endpoint]


async def test_requests_of_the_api_and_clients_that_leave_are_counted(operator: Operator) -> None:
    async with operator.session.get(f"{operator.server.url}/api/v1/node/7") as answer:
        assert answer.status == 401
    _, writer = await asyncio.open_connection(operator.server.settings.host, operator.server.settings.port)
    writer.write(b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    await operator.until_in_flight(1)
    writer.transport.abort()
    await operator.until_in_flight(0)
    found = (await operator.samples())["http_requests_total"]
    counted = {(has["endpoint"], has["status"], has["client_aborted"]) for has, _ in found}
    assert {("/api/v1/node/{id}", "401", "false"), ("/verify", "499", "true")} <= counted


async def test_series_of_each_node_can_be_switched_off() -> None:
    async with operating(**{"metrics.per_node": False}) as operator:
        await operator.tailnet.join("one")
        found = await operator.samples()
        assert not found.keys() & FAMILIES.keys()
        assert "headscale_nodes_state" in found


async def test_two_servers_in_one_process_count_for_themselves() -> None:
    async with operating() as first, operating() as second:
        await first.tailnet.join("one")
        assert [len((await each.samples()).get("headscale_nodes_info", ())) for each in (first, second)] == [
            1,
            0,
        ]


async def test_every_page_is_there_as_html_and_as_json(operator: Operator) -> None:
    one = await operator.tailnet.join("one")
    await one.stream()
    for page in json_pages():
        status, text = await operator.get(f"/debug/{page}")
        assert (status, text[:15]) == (200, "<!doctype html>"), (page, text)
        assert "<script" not in text
        assert isinstance(await operator.document(page), dict)


def json_pages() -> list[str]:
    """Every page, those of a node for the node "one"."""
    return [
        "",
        *PAGES,
        "gc",
        "ping",
        "filter?node=one",
        "ssh?node=one",
        "mapresponses?node=one",
    ]


async def test_pages_show_what_is(operator: Operator) -> None:
    one, two = await operator.tailnet.join("one"), await operator.tailnet.join("two")
    await one.stream()
    assert (await operator.document("overview"))["nodes"]["total"] == 2
    assert [each["name"] for each in (await operator.document("overview"))["seen"]] == ["one", "two"]
    shown = await operator.document(
        f"mapresponses?node={operator.server.app.writer.snapshot.nodes[one.id].ipv4}"
    )
    assert [peer["ID"] for peer in shown["map"]["Peers"]] == [two.id]
    assert shown["map"]["Node"]["ID"] == one.id
    assert (await operator.document("filter?node=1"))["filter"]
    [stream] = (await operator.document("batcher"))["streams"]
    assert (stream["node"], stream["writable"]) == ("one (ID 1)", True)
    named = {task["name"] for task in (await operator.document("tasks"))["tasks"]}
    assert {"writer", "fanout", "housekeeping"} <= named
    nodes = (await operator.document("nodestore"))["nodes"]
    assert [(node["givenName"], node["remote"]) for node in nodes] == [("one", "127.0.0.1"), ("two", None)]


async def test_the_registration_cache_shows_real_limits_and_no_login_whole() -> None:
    async with operating(
        **{"tuning.register_cache_expiration": "7m", "tuning.register_cache_max_entries": 5}
    ) as operator:
        client = await operator.tailnet.client("waits")
        url = (await client.register())["AuthURL"]
        shown = await operator.document("registration-cache")
        assert (shown["lifetimeSeconds"], shown["maxEntries"], shown["waiting"]) == (420, 5, 1)
        assert shown["logins"][0]["hostname"] == "waits"
        assert url.rpartition("/")[2] not in str(shown)


async def test_a_client_is_pinged_from_a_page(operator: Operator) -> None:
    """Nobody answers for a client that is not connected; the page says so."""
    await operator.tailnet.join("one")
    pinged = await operator.document("ping?node=one")
    assert (pinged["answered"], pinged["reason"]) == (False, "one is not connected")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("filter?node=nobody", 404),
        ("filter?node=", 400),
        ("mapresponses?node=one&version=x", 400),
        ("nothing", 404),
    ],
)
async def test_a_wrong_question_is_told_so(operator: Operator, path: str, status: int) -> None:
    await operator.tailnet.join("one")
    assert (await operator.get(f"/debug/{path}"))[0] == status


async def test_debug_pages_are_not_for_what_a_proxy_passes_on(operator: Operator) -> None:
    for path in ("/debug/", "/debug/config", "/debug/nowhere"):
        status, _ = await operator.get(path, **{"X-Forwarded-For": "127.0.0.1"})
        assert status == 403
    assert (await operator.get("/metrics", **{"X-Forwarded-For": "127.0.0.1"}))[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9090", 200),
        ("[::1]:9090", 200),
        ("localhost", 200),
        ("vpn:9090", 200),
        ("web.tailnet.internal:9090", 200),
        ("evil.example:9090", 403),
        ("127.0.0.1.evil.example", 403),
        ("tailnet.internal.evil.example", 403),
    ],
)
async def test_a_foreign_name_that_leads_here_shows_nothing(
    operator: Operator, host: str, status: int
) -> None:
    """A web page elsewhere can have its own name resolve to this machine, and ask from a browser on it."""
    assert (await operator.get("/debug/config", Host=host))[0] == status
    assert (await operator.get("/metrics", Host=host))[0] == 200


async def test_a_form_of_another_site_does_nothing(operator: Operator) -> None:
    async with operator.session.post(
        f"{operator.url}/debug/gc", headers={"Sec-Fetch-Site": "cross-site"}
    ) as answer:
        assert answer.status == 403
    async with operator.session.post(
        f"{operator.url}/debug/gc", headers={"Accept": "application/json"}
    ) as answer:
        assert "unreachable" in await answer.json()


async def test_a_scrape_is_packed_for_who_takes_that(operator: Operator) -> None:
    async with operator.session.get(
        f"{operator.url}/metrics", headers={"Accept-Encoding": "identity"}
    ) as answer:
        assert "Content-Encoding" not in answer.headers
        plain = await answer.read()
    async with operator.session.get(f"{operator.url}/metrics", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert int(answer.headers["Content-Length"]) < len(plain) / 2
        assert b"headscale_up 1.0" in await answer.read()


@pytest.mark.parametrize(
    ("remote", "may"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("100.64.1.2", True),
        ("fd7a:115c:a1e0::9", True),
        ("::ffff:100.64.0.1", True),
        ("10.9.0.7", True),  # the operator's own prefix
        ("10.8.0.7", False),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fd00::1", False),
        ("", False),
    ],
)
async def test_debug_pages_are_for_this_machine_and_the_tailnet(remote: str, may: bool) -> None:
    async with operating(**{"prefixes.v4": "10.9.0.0/24"}) as operator:
        app = operator.server.app
        pages = OperatorPages(app.vitals)
        request = make_mocked_request("GET", "/debug/config").clone(remote=remote)
        assert pages._may_look(request) is may


async def test_nothing_of_this_is_on_the_main_listener(operator: Operator) -> None:
    for path in ("/metrics", "/debug/", "/debug/config", "/debug/tasks"):
        async with operator.session.get(operator.server.url + path) as answer:
            assert answer.status == 404


async def test_without_an_address_there_is_no_listener(server: InProcessServer) -> None:
    assert server.app.config.metrics_listen is None


@pytest.mark.bar("A12")
async def test_no_page_holds_a_secret() -> None:
    """In no encoding: the configured ones, the server's keys, credentials that it gave out, and a login that waits."""
    async with operating(**KEYS) as operator:
        one = await operator.tailnet.join("one")
        await one.stream()
        waiting = await operator.tailnet.client("waits")
        login = (await waiting.register())["AuthURL"].rpartition("/")[2]
        folder = operator.server.folder
        planted = [
            *SECRETS.values(),
            "planted-tsig-secret-",
            login,
            await operator.tailnet.key(),
            (await operator.server.call("POST", "apikey", {}))["apiKey"],
            *(
                path.read_text().strip().removeprefix("privkey:")
                for path in folder.glob("*.key")
                if path.stat().st_size < 100
            ),
        ]
        assert len(planted) >= 9
        texts = {page: (await operator.get(f"/debug/{page}"))[1] for page in json_pages()}
        texts |= {
            f"{page} json": (await operator.get(f"/debug/{page}", json=True))[1] for page in json_pages()
        }
        texts["metrics"] = (await operator.get("/metrics"))[1]
        assert len(texts) > 2 * len(PAGES)
        for secret in planted:
            # The end of a credential is what is secret of it; its beginning may be shown.
            end = secret[-20:]
            forms = {
                end,
                quote(secret, safe=""),
                secret.encode().hex(),
                base64.b64encode(end.encode()).decode().rstrip("="),
            }
            for page, text in texts.items():
                assert not [form for form in forms if form in text], (page, secret[:12])


async def test_a_bug_in_a_page_is_told_in_the_log_only(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: Any, text: str) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(OperatorPages, "_pinged", broken)
    with caplog.at_level(logging.ERROR):
        status, text = await operator.get("/debug/ping?node=1")
    assert (status, "secret inside" in text) == (500, False)
    assert "a page for operators failed" in caplog.text
