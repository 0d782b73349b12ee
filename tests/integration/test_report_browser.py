"""The harness's pages in a real browser, headless Chromium: they are read from disk, and fetch nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness.history import History, Source, Way
from harness.report.drawing import as_json, edges_of
from harness.report.failure import Failure, write_failure
from harness.report.results import Result, Setup
from harness.report.runmatrix import write_matrix
from tests.integration.chromium import Chromium, is_well_made

RELEASES = {"laptop": "1.80.3", "phone": "1.92.5", "server": "1.102.4", "printer": "rust"}
NAMES = list(RELEASES)
FETCHED = "return performance.getEntriesByType('resource').map(entry => entry.name)"


@pytest.fixture
async def browser() -> AsyncIterator[Chromium]:
    """A window with scripts, which these pages filter with."""
    made = await asyncio.to_thread(lambda: Chromium(scripts=True))
    yield made
    await asyncio.to_thread(made.driver.quit)


def ways() -> list[Way]:
    """Everybody reaches the server, nobody the printer; one who should not does."""
    found = []
    for prober in NAMES:
        for target in NAMES:
            for how in ("tcp 100.64.0.9:80", "udp 100.64.0.9:80"):
                want = target == "server" or (target == "phone" and how.startswith("tcp"))
                got = want or (prober == "laptop" and target == "printer" and how.startswith("udp"))
                if prober != target:
                    reason = "was answered in 2 ms with source 100.64.0.1" if got else "timeout: nothing came"
                    found.append(Way(prober, target, how, want, got, want == got, reason))
    return found


def told() -> History:
    """A scenario in which something of every source happens."""
    history = History()
    for number, name in enumerate(NAMES):
        history.add(Source.ADMIN, "process", "create key", {"user_id": "1", "tags": []})
        history.add(Source.CLIENT, name, "notified", {"state": "Running"})
        history.add(
            Source.MAP, name, "full map", {"says": f"{number} peers, self, packet filter", "peers": NAMES}
        )
    history.add(Source.FAULT, "phone", "cable is pulled")
    history.add(Source.FAULT, "phone", "cable is pulled: over")
    history.add(Source.SERVER, "process", "INFO node online node=2", {"more": ""})
    history.record("policy set", policy='{"acls": []}')
    for way in ways():
        history.ways[way.prober, way.target, way.how] = way
        expected, actual = ("yes" if each else "no" for each in (way.want, way.got))
        fields = {"to": f"{way.target} {way.how}", "expected": expected, "actual": actual}
        history.add(Source.PROBE, way.prober, "probe", fields)
    return history


def bundle(folder: Path) -> Path:
    """The folder of a failure, with what clients were told."""
    for number, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        nodes = [
            {"name": n, "addresses": [f"100.64.0.{i}"], "online": n != "phone", "tags": [], "routes": []}
            for i, n in enumerate(NAMES)
        ]
        rules = ["100.64.0.1 → 100.64.0.9:80 (protocol 6)"]
        netmap = {"self": nodes[number], "peers": [n for n in nodes if n["name"] != name], "rules": rules}
        line = {"logged": None, "kind": "full map", "response": {"PeersRemoved": [1]}, "netmap": netmap}
        (folder / name / "maps.jsonl").write_text(json.dumps(line))
        (folder / name / "tailscaled.log").write_text("words\n")
    failure = Failure(
        test="scenarios/test_acl.py::test_nobody_reaches_the_printer",
        fact="A printer is reached by nobody.",
        reason="harness.reach.Unreached: 1 of 24 pairs are not as expected\n  laptop → printer udp: expected no",
        trace="def test_nobody_reaches_the_printer(tailnet):\n>   await tailnet.assert_policy(POLICY)",
        rerun="nox -s integration -- scenarios/test_acl.py::test_nobody_reaches_the_printer --backend=netns",
        facts=[
            ("client versions", "1.80.3, 1.92.5, 1.102.4, rust"),
            ("server", "process at http://10.0.0.1:8080"),
        ],
        releases=RELEASES,
    )
    return write_failure(folder, failure, told())


def rows(browser: Chromium, table: str) -> list[str]:
    """The text of the rows that are shown."""
    found = browser.driver.find_elements("css selector", f"{table} tbody tr")
    return [row.text for row in found if row.is_displayed()]


def press(browser: Chromium, group: str) -> None:
    browser.driver.find_element("css selector", f'button[data-value="{group}"]').click()


def choose(browser: Chromium, name: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(browser.driver.find_element("css selector", "select")).select_by_visible_text(name)


async def test_a_failure_is_read_and_sifted(browser: Chromium, tmp_path: Path) -> None:
    """By source, by whose it is, by words; what is not as expected is seen at once."""
    page = bundle(tmp_path / "failure")

    def look() -> None:
        browser.open(page.as_uri())
        is_well_made(browser)
        assert browser.driver.execute_script(FETCHED) == []
        assert [e.text for e in browser.driver.find_elements("css selector", "td.wrong")] == ["YES, not no"]
        assert len(browser.driver.find_elements("css selector", "svg.tailnet g.wrong line")) == 1
        everything = len(rows(browser, ".timeline"))
        assert f"{everything} of {everything}" in browser.text
        press(browser, "probe")
        assert not any("expected=" in row for row in rows(browser, ".timeline"))
        press(browser, "probe")
        assert len(rows(browser, ".timeline")) == everything
        choose(browser, "printer")
        assert {row.split()[2] for row in rows(browser, ".timeline")} == {"printer"}
        choose(browser, "everybody")
        browser.driver.find_element("css selector", "input").send_keys("CABLE")
        assert [row.split(maxsplit=3)[3] for row in rows(browser, ".timeline")] == [
            "cable is pulled",
            "cable is pulled: over",
        ]
        browser.open(page.as_uri())
        browser.shoot("harness-failure")
        assert browser.complaints() == []

    await asyncio.to_thread(look)


async def test_its_links_lead_to_its_files(browser: Chromium, tmp_path: Path) -> None:
    """Wherever the folder was carried."""
    page = bundle(tmp_path / "failure")
    moved = (tmp_path / "failure").rename(tmp_path / "else where")

    def look() -> None:
        browser.open((moved / page.name).as_uri())
        browser.driver.find_element("link text", "phone/tailscaled.log").click()
        assert browser.text == "words"

    await asyncio.to_thread(look)


async def test_the_matrix_is_read_and_sifted(browser: Chromium, tmp_path: Path) -> None:
    """By outcome and by words; each scenario's tailnet is behind a click."""
    page = tmp_path / "matrix.html"
    write_matrix(page, results())

    def look() -> None:
        browser.open(page.as_uri())
        is_well_made(browser)
        assert browser.driver.execute_script(FETCHED) == []
        assert len(rows(browser, ".matrix")) == 8
        press(browser, "passed")
        assert not any("routes" in row for row in rows(browser, ".matrix"))
        for group in ("failed", "skipped"):
            press(browser, group)
        (only,) = rows(browser, ".matrix")
        assert "unsupported" in only
        for group in ("passed", "failed", "skipped"):
            press(browser, group)
        browser.driver.find_element("css selector", "input").send_keys("printer")
        (only,) = rows(browser, ".matrix")
        assert "1 of 3 failed (33 %)" in only
        drawing = browser.driver.find_element("css selector", "svg.tailnet")
        assert not drawing.is_displayed()
        browser.driver.find_element("css selector", "tr:not([hidden]) summary").click()
        assert drawing.is_displayed()
        browser.open(page.as_uri())
        browser.driver.find_element("css selector", "summary").click()
        browser.shoot("harness-matrix")
        assert browser.complaints() == []

    await asyncio.to_thread(look)


def results() -> list[Result]:
    """Three runs on four setups: one scenario fails now and then, one cannot be done, one is skipped."""
    setups = [
        Setup("1.80.3,1.102.4", "inprocess", "sqlite", "netns"),
        Setup("1.80.3,1.92.5,1.102.4,rust", "process", "sqlite", "container"),
        Setup("1.102.4", "process", "postgres", "container"),
        Setup("1.102.4", "image", "sqlite", "container"),
    ]
    reach = as_json(RELEASES, edges_of(ways()))
    made = []
    for run in ("20261128T100000Z", "20261129T100000Z", "20261130T100000Z"):
        for number, setup in enumerate(setups):
            fails = run.startswith("20261130") and number == 1
            made += [
                Result(
                    *(run, run, "scenarios/test_acl.py::test_nobody_reaches_the_printer"),
                    *("failed" if fails else "passed", 12.4 + number, setup),
                    evidence="scenarios-test_acl" if fails else "",
                    commit="0c35e82",
                    reach=reach,
                )
            ]
            made += [
                Result(
                    run,
                    run,
                    f"scenarios/test_routes.py::test_routes_of_kind_{kind}",
                    "passed",
                    3.0 + kind,
                    setup,
                )
                for kind in range(5)
            ]
            made.append(
                Result(
                    run,
                    run,
                    "scenarios/test_ssh.py::test_only_on_containers",
                    "skipped",
                    0.0,
                    setup,
                    "no accounts",
                )
            )
        made.append(
            Result(
                run, run, "scenarios/test_oauth.py::test_a_device", "unsupported", 0.1, setups[3], "no OAuth"
            )
        )
    return made
