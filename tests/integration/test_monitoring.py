"""What operators are given to watch a server with: dashboard, alerts, a real Prometheus, and logs for machines."""

import asyncio
import io
import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.ports import free_port
from harness.runs import environ
from harness.servers.programs import end, until_listening
from harness.strict import unavailable
from headscale import logs
from tests.integration.fakes import Join, Tailnet
from tests.integration.test_operator_pages import Operator, operating

MONITORING: Final = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES: Final = MONITORING / "headscale.rules.yml"
DASHBOARD: Final = MONITORING / "headscale.dashboard.json"
# Prometheus' own, and what only exists once there was one of the kind.
OF_PROMETHEUS: Final = {"up", "ALERTS"}
METRIC: Final = re.compile(r"\b(?:up|(?:headscale|http|process|python)_[a-z0-9_]+)\b")


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        unavailable(f"there is no {name}: install it (Debian: apt-get install prometheus)")
    return found


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    async with operating() as made:
        yield made


def promtool(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("promtool"), *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_alert_rules_are_rules() -> None:
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stderr
    assert re.search(r"SUCCESS: \d\d rules found", checked.stdout)


def test_the_alerts_come_when_they_should_and_only_then() -> None:
    """As their own tests have it; each alert is in one of them."""
    tested = promtool("test", "rules", MONITORING / "headscale.rules.test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    names = re.findall(r"- alert: (\w+)", RULES.read_text())
    cases = (MONITORING / "headscale.rules.test.yml").read_text()
    assert [name for name in names if name not in cases] == []


def expressions() -> Iterator[str]:
    """Everything that the dashboard and the rules ask Prometheus."""
    document = json.loads(DASHBOARD.read_text())
    for panel in document["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in document["templating"]["list"]:
        yield variable.get("definition", "")
    yield from re.findall(r"expr: (.*)", RULES.read_text())


def names(expression: str) -> set[str]:
    """The metrics that it names; what stands in quotes is a label's value."""
    return set(METRIC.findall(re.sub(r'"[^"]*"', "", expression)))


async def test_what_is_asked_is_what_the_server_says(operator: Operator) -> None:
    """Every metric and every label of the dashboard and the rules is on /metrics of a running server."""
    await (await operator.tailnet.join("laptop")).stream()
    async with operator.session.get(operator.url + "/health"):
        pass
    async with operator.session.get(f"{operator.url}/metrics") as answer:
        families = list(text_string_to_metric_families(await answer.text()))
    told = {sample.name for family in families for sample in family.samples}
    # What has labels has no sample before the first of its kind.
    told |= {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    asked = {name for expression in expressions() for name in names(expression)}
    assert len(asked) > 35
    assert sorted(asked - told - OF_PROMETHEUS) == []


async def test_a_real_prometheus_scrapes_the_server_and_understands_every_question(
    operator: Operator,
) -> None:
    """It takes the rules, the target is up, and each expression is answered without an error."""
    await (await operator.tailnet.join("laptop")).stream()
    async with AsyncExitStack() as stack:
        url = await prometheus(stack, operator.url.removeprefix("http://"))

        async def query(expression: str) -> Any:
            async with operator.session.get(f"{url}/api/v1/query", params={"query": expression}) as answer:
                if answer.status == 503:  # it reads its own data first
                    return []
                document = await answer.json()
                assert document["status"] == "success", (expression, document)
                return document["data"]["result"]

        async with asyncio.timeout(30):
            while not await query('up{job="headscale"} == 1'):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        [online] = await query('headscale_nodes_state{state="online"}')
        assert online["value"][1] == "1"
        assert len(await query('headscale_health{job="headscale"} == 1')) == 5
        variables = (("$__rate_interval", "1m"), ("$job", "headscale"), ("$instance", ".*"))
        for expression in expressions():
            text = expression
            for name, value in variables:
                text = text.replace(name, value)
            if not text.startswith("label_values") and text:
                await query(text)
        async with operator.session.get(f"{url}/api/v1/rules") as answer:
            rules = (await answer.json())["data"]["groups"][0]["rules"]
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
        assert len(rules) == RULES.read_text().count("- alert:")


async def prometheus(stack: AsyncExitStack, target: str) -> str:
    """One that scrapes this every second and has our rules; its URL."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hs-prometheus-")))
    port = free_port("127.0.0.1")
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "headscale", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    log = folder / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program("prometheus"),
            *(f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"),
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=output,
            stderr=output,
            env=environ(),
        )
    stack.push_async_callback(end, process)
    await until_listening(process, "prometheus", "127.0.0.1", port, log)
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The server's log as JSON lines, everything of it."""
    root, ours, out = logging.getLogger(), logging.getLogger("headscale"), io.StringIO()
    before = root.handlers[:], root.level, ours.level
    monkeypatch.setattr(sys, "stdout", out)
    logs.set_up(level="debug", as_json=True)
    ours.setLevel(logging.DEBUG)
    yield out
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def requests_in(out: io.StringIO) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    return [line for line in found if line["message"].startswith("request method=")]


async def test_a_request_is_a_line_of_the_log_with_its_fields(
    tailnet: Tailnet, join: Join, written: io.StringIO
) -> None:
    """On the main listener with the route, not what was asked for, and with the id that the answer has; inside a
    session with the node. A failure of ours stands out."""
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{tailnet.server.url}/register/not-there?secret=1") as answer:
            number = answer.headers["X-Request-Id"]
    enrolled = await join("laptop")
    await enrolled.stream()
    await enrolled.client.close()
    await tailnet.until(lambda: any(line["path"] == "/machine/map" for line in requests_in(written)))
    lines = requests_in(written)
    [page] = [line for line in lines if line.get("request") == number]
    assert (page["method"], page["path"], page["status"]) == ("GET", "/register/{id}", answer.status)
    assert (page["level"], page["remote"]) == ("debug", "127.0.0.1")
    assert 0 <= page["seconds"] < 10
    [joined] = [line for line in lines if line["path"] == "/machine/register"]
    assert (joined["method"], joined["status"], joined["node"]) == ("POST", 200, int(enrolled.id))
    polled = next(line for line in lines if line["path"] == "/machine/map")
    assert (polled["node"], polled["status"]) == (int(enrolled.id), 200)
    assert polled["request"] != joined["request"] != page["request"]
    everything = [json.loads(line) for line in written.getvalue().splitlines()]
    online = next(line for line in everything if line["message"].startswith("node online"))
    assert (online["node"], online["request"]) == (int(enrolled.id), polled["request"])
    assert "secret" not in written.getvalue()
