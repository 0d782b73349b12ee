"""The pytest plugin: options, the fixtures `tailnet` and `make_tailnet`, and the evidence of failures.

Scenarios run in one event loop for the whole session, because the backend and what it built live that long.
What cannot run on this machine is a skip that names the reason, or a failure under HARNESS_STRICT=1. What the chosen
server, client or backend cannot do by its nature is neither (harness/outcomes.py).
"""

import asyncio
import contextlib
import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from harness import outcomes
from harness.reporting import Reporter, add_options
from harness.strict import strict, unavailable
from harness.summary import SUMMARY, Summary

if TYPE_CHECKING:  # nothing heavy at import: the plugin is loaded for every pytest run of its environment
    from harness.backends.network import Backend, Network
    from harness.servers.base import ControlServer
    from harness.servers.configuration import Configuration
    from harness.servers.postgres import Postgres
    from harness.tailnet import Tailnet
    from harness.versions import Release

DEFAULT_VERSIONS = "oldest,middle,newest,rust"
SERVERS = ("inprocess", "process")
DATABASES = ("sqlite", "postgres")
TAILNETS = frozenset({"tailnet", "make_tailnet", "lasting_tailnet"})
EPHEMERAL_TIMEOUT = timedelta(minutes=30)
FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The harness's options."""
    group = parser.getgroup("harness", "real Tailscale clients")
    group.addoption(
        "--client-versions",
        default=DEFAULT_VERSIONS,
        metavar="LIST",
        help="oldest, middle, newest, all, rust, releases such as 1.80,1.92.5, or pairwise (default: %(default)s)",
    )
    group.addoption(
        "--backend",
        choices=("container", "netns", "process"),
        help="where clients run; by default containers when a Docker engine answers, else processes",
    )
    group.addoption(
        "--server", choices=SERVERS, default="inprocess", help="how our server runs (default: %(default)s)"
    )
    group.addoption(
        "--database",
        choices=DATABASES,
        default="sqlite",
        help="where our server keeps its records (default: %(default)s)",
    )
    group.addoption(
        "--control-image",
        metavar="IMAGE",
        help="test the server in this image; it has the `headscale` command",
    )
    group.addoption(
        "--proxy",
        action="store_true",
        help="put the control proxy in front of servers without TLS: failures leave all that passed as control.jsonl",
    )
    group.addoption(
        "--control-url",
        metavar="URL",
        help="test the server at this URL by its REST v2, with the API key in HARNESS_API_KEY",
    )
    group.addoption(
        "--keep", action="store_true", help="stop and wait when a scenario fails, with all running"
    )
    group.addoption(
        "--artifacts",
        type=Path,
        default=Path("artifacts"),
        metavar="DIR",
        help="where failures leave evidence",
    )
    add_options(group)


def pytest_configure(config: pytest.Config) -> None:
    """Markers, and the options that can be wrong."""
    config.addinivalue_line("markers", "server(kind): the scenario needs the server to run this way")
    config.addinivalue_line("markers", "needs(capability): the backend must have this capability")
    config.stash[SUMMARY] = Summary(config)
    config.pluginmanager.register(config.stash[SUMMARY], "harness-summary")
    config.pluginmanager.register(Reporter(config), "harness-reporter")
    from harness.versionmatrix import selections
    from harness.versions import UnknownVersion

    try:
        selections(config.getoption("--client-versions"))
    except UnknownVersion as problem:
        raise pytest.UsageError(str(problem)) from None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(obj: object) -> None:
    """An async test that names a tailnet needs no mark of its own, whatever pytest-asyncio's mode is."""
    if inspect.iscoroutinefunction(obj) and TAILNETS & set(inspect.signature(obj).parameters):
        pytest.mark.asyncio(obj)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of each selection of releases."""
    from harness.versionmatrix import parametrize

    parametrize(metafunc)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test with a tailnet runs in the loop where the tailnet lives."""
    for item in items:
        if {"make_tailnet", "lasting_tailnet"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """What cannot be asked has a category of its own."""
    return outcomes.status(report)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember failures, for the fixtures that clean up after the test."""
    reason = outcomes.translate(call)
    report = yield
    if reason is not None:
        outcomes.mark(item, report, reason)
    if report.failed and call.when in ("setup", "call"):
        item.stash[FAILED] = True
    return report


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def backend(request: pytest.FixtureRequest) -> AsyncIterator["Backend"]:
    """Where machines run."""
    from harness.backends.choose import choose
    from harness.errors import Missing, NotOffered

    asked = request.config.getoption("--backend")
    if request.config.getoption("--control-url"):
        if asked not in (None, "process"):
            raise NotOffered(
                f"machines of the {asked} backend reach no server outside: --control-url needs process"
            )
        asked = "process"
    try:
        chosen = await asyncio.to_thread(choose, asked)
    except Missing as problem:
        unavailable(str(problem))
    if chosen.name == "process" and asked is None and strict():
        unavailable(f"no containers: {chosen.why}")
    request.config.stash[SUMMARY].add(f"harness: backend {chosen.name}, because {chosen.why}")
    yield chosen
    await chosen.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def releases(request: pytest.FixtureRequest, backend: "Backend") -> "tuple[Release, ...]":
    """The selected client releases, with everything built that they need.

    One that this machine cannot provide is left out and named in the summary; under HARNESS_STRICT, and when
    none is left, that fails or skips the tests instead.
    """
    from harness.errors import Missing
    from harness.versions import resolve

    asked = getattr(request, "param", None) or resolve(request.config.getoption("--client-versions"))
    ready: list[Release] = []
    summary = request.config.stash[SUMMARY]
    for release in asked:
        try:
            with _uncaptured(request.config):  # builds take minutes: their progress is to be seen
                await backend.prepare([release])
        except Missing as problem:
            if strict():
                unavailable(f"client {release}: {problem}")
            summary.add(f"harness: NOT RUN with client {release}: {problem}")
        else:
            ready.append(release)
    if not ready:
        unavailable("; ".join(summary.left_out))
    summary.add(f"harness: clients {', '.join(map(str, ready))}")
    return tuple(ready)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def records(request: pytest.FixtureRequest) -> AsyncIterator["Postgres | None"]:
    """The PostgreSQL in which each tailnet's server has a database of its own; None where they have files."""
    if request.config.getoption("--database") == "sqlite":
        yield None
        return
    from harness.errors import Missing
    from harness.servers.postgres import start_postgres

    async with AsyncExitStack() as stack:
        try:
            postgres = await start_postgres(stack)
        except Missing as problem:
            unavailable(str(problem))
        request.config.stash[SUMMARY].add("harness: records in PostgreSQL")
        yield postgres


MakeTailnet = Callable[..., Awaitable["Tailnet"]]
Configure = Callable[["Network"], Awaitable[Mapping[str, Any]]]


@pytest_asyncio.fixture(loop_scope="session")
async def make_tailnet(
    request: pytest.FixtureRequest,
    backend: "Backend",
    releases: "tuple[Release, ...]",
    records: "Postgres | None",
) -> AsyncIterator[MakeTailnet]:
    """Makes tailnets for this test: `await make_tailnet(config={"dns.search_domains": ["corp.example"]})`.

    `config` are keys of the server's configuration, or what gives them for the tailnet's network; `files` lie beside it
    under these names. With `everywhere` the server listens at all of the host's addresses, IPv6 too. With `proxied`
    clients talk to it through `tailnet.proxy`.
    """
    opened: list[Tailnet] = []
    async with _maker(request, backend, releases, opened, records) as make:
        yield make
        for tailnet in opened:
            await _leave_evidence(request, tailnet)


@asynccontextmanager
async def _maker(
    request: pytest.FixtureRequest,
    backend: "Backend",
    releases: "tuple[Release, ...]",
    opened: "list[Tailnet]",
    records: "Postgres | None",
) -> AsyncIterator[MakeTailnet]:
    """What makes tailnets that last as long as the context, adding each to those that are open."""
    from harness.history import History
    from harness.servers.configuration import Configuration
    from harness.tailnet import open_tailnet

    check_needs(request.node, backend)
    async with AsyncExitStack() as stack:

        async def make(
            *,
            ephemeral_timeout: timedelta = EPHEMERAL_TIMEOUT,
            with_tls: bool = False,
            everywhere: bool = False,
            config: "Mapping[str, Any] | Configure | None" = None,
            files: Mapping[str, str] | None = None,
            proxied: bool = False,
        ) -> "Tailnet":
            network = await stack.enter_async_context(
                backend.network(_network_name(request.node, len(opened)))
            )
            keys = await config(network) if callable(config) else config
            configuration = Configuration(keys or {}, files or {})
            server = _server(
                request,
                network,
                ephemeral_timeout,
                with_tls=with_tls,
                everywhere=everywhere,
                configuration=configuration,
                elsewhere=await _database_of_its_own(records),
            )
            through = request.config.getoption("--proxy") and not request.config.getoption("--control-url")
            if proxied or (through and not with_tls):
                from harness.servers.proxied import ProxiedServer

                server = ProxiedServer(server, network.host_address)
            tailnet = await stack.enter_async_context(open_tailnet(server, network, releases, History()))
            opened.append(tailnet)
            return tailnet

        yield make


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def _module_tailnet(
    request: pytest.FixtureRequest,
    backend: "Backend",
    releases: "tuple[Release, ...]",
    records: "Postgres | None",
) -> AsyncIterator["Tailnet"]:
    async with _maker(request, backend, releases, [], records) as make:
        yield await make()


@pytest_asyncio.fixture(loop_scope="session")
async def lasting_tailnet(
    request: pytest.FixtureRequest, _module_tailnet: "Tailnet"
) -> AsyncIterator["Tailnet"]:
    """A tailnet that all tests of the module share, empty for the first. Each leaves it as it found it.

    For what is set while clients run, such as policies: booting clients costs more than all that is asked of them.
    """
    _module_tailnet.history.record("test begins", test=request.node.nodeid)
    _module_tailnet.history.ways.clear()
    yield _module_tailnet
    await _leave_evidence(request, _module_tailnet)


@pytest_asyncio.fixture(loop_scope="session")
async def tailnet(make_tailnet: MakeTailnet) -> "Tailnet":
    """An empty tailnet: a running server and no clients yet."""
    return await make_tailnet()


Publish = Callable[[str, str], None]


@pytest.fixture
def publish(request: pytest.FixtureRequest) -> Publish:
    """Keeps what a scenario found out, whether or not it passes: a file among the artifacts, and in the summary."""

    def published(name: str, text: str) -> None:
        folder: Path = request.config.getoption("--artifacts")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        request.config.stash[SUMMARY].add(f"{folder / name}:", *text.splitlines())

    return published


def check_needs(node: pytest.Item | pytest.Module, backend: "Backend") -> None:
    """Raises NotOffered for a scenario whose needs the backend, asked for by name, does not have."""
    from harness.errors import NotOffered

    lacking = [
        str(marker.args[0])
        for marker in node.iter_markers("needs")
        if marker.args[0] not in backend.capabilities
    ]
    if lacking:
        reason = f"the {backend.name} backend has no {', '.join(lacking)}"
        # Asked for by name, a backend's limits are known; chosen for want of a better one, they are a gap.
        if backend.why != "it was asked for":
            unavailable(reason)
        raise NotOffered(reason)


def _server(
    request: pytest.FixtureRequest,
    network: "Network",
    ephemeral_timeout: timedelta,
    *,
    with_tls: bool,
    everywhere: bool,
    configuration: "Configuration",
    elsewhere: Mapping[str, str],
) -> "ControlServer":
    from harness.errors import NotOffered
    from harness.servers.configuration import Configuration
    from harness.servers.local import local_settings

    kind = request.config.getoption("--server")
    url = request.config.getoption("--control-url")
    image = request.config.getoption("--control-image")
    needed = {marker.args[0] for marker in request.node.iter_markers("server")}
    if url:
        from harness.servers.hosted.choose import hosted_server

        plain = configuration == Configuration() and not (with_tls or everywhere or elsewhere or needed)
        return hosted_server(url, plain=plain and ephemeral_timeout == EPHEMERAL_TIMEOUT)
    if image and needed:
        raise NotOffered(f"a server from an image is not ours as a {', '.join(sorted(needed))}")
    if image and with_tls:
        raise NotOffered("a server from an image has no certificate")
    if image and elsewhere:
        raise NotOffered("a server from an image has its own database")
    if image:
        from harness.servers.container import ContainerServer

        return ContainerServer(
            network, image, ephemeral_timeout=ephemeral_timeout, configuration=configuration
        )
    settings = local_settings(
        network.host_address,
        ephemeral_timeout=ephemeral_timeout,
        with_tls=with_tls,
        everywhere=everywhere,
        configuration=configuration,
        elsewhere=elsewhere,
    )
    if kind == "process" or "process" in needed:
        from harness.servers.process import ProcessServer

        return ProcessServer(settings)
    from harness.servers.inprocess import InProcessServer

    return InProcessServer(settings)


async def _database_of_its_own(records: "Postgres | None") -> Mapping[str, str]:
    """The variables of a server that keeps its records in a new database; none for one that has a file."""
    if records is None:
        return {}
    return await asyncio.to_thread(records.variables_of_new)


def _network_name(node: pytest.Item | pytest.Module, number: int) -> str:
    name = Path(node.name.partition("[")[0]).stem  # a module's is a path
    words = name.removeprefix("test_").replace("_", "-")
    return f"{words[:24].strip('-')}-{os.getpid()}-{number}"


async def _leave_evidence(request: pytest.FixtureRequest, tailnet: "Tailnet") -> None:
    from harness.evidence import leave_evidence, note_reach

    note_reach(request.node, tailnet)
    if not request.node.stash.get(FAILED, False):
        return
    folder = await leave_evidence(request.node, tailnet)
    request.config.stash[SUMMARY].add(f"evidence: {folder / 'report.html'}")
    if request.config.getoption("--keep"):
        await _wait_for_people(request, tailnet)


async def _wait_for_people(request: pytest.FixtureRequest, tailnet: "Tailnet") -> None:
    """With --keep: say where everything is, and go on at Enter."""
    with _uncaptured(request.config):
        print(f"\nkept: server {tailnet.server.url}")  # noqa: T201
        for client in tailnet.clients:
            print(f"kept: {client.name} in {client.machine.data}")  # noqa: T201
        await asyncio.to_thread(input, "Enter to clean up: ")


def _uncaptured(config: pytest.Config) -> contextlib.AbstractContextManager[None]:
    """What is printed inside is seen at once."""
    capture = config.pluginmanager.getplugin("capturemanager")
    shown: contextlib.AbstractContextManager[None] = (
        capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
    )
    return shown
