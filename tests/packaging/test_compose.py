"""deploy/compose, started as the guide says, with real clients that come in by Caddy."""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from harness.backends.base import Capability, Completed
from harness.backends.network import Backend
from harness.clients.base import Ability
from harness.history import History
from harness.ports import free_port
from harness.servers.base import ServerAbility, all_online
from harness.servers.command import CommandAdmin
from harness.tailnet import Tailnet, open_tailnet
from harness.versions import Release
from harness.wait import Budget
from tests.packaging.conftest import INSTALL
from tests.packaging.programs import inspect, run
from tests.reading import Reader

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEADING = "4. Compose, with PostgreSQL and Caddy"
ROOT_CERTIFICATE = "/data/caddy/pki/authorities/local/root.crt"
SERVICES = ("server", "database", "caddy")


class Composed(CommandAdmin):
    """See ControlServer: what compose started, as one server."""

    name = "compose"
    abilities = frozenset(ServerAbility) - {ServerAbility.CONFIGURATION}

    def __init__(self, reader: Reader, url: str, authority: bytes) -> None:
        super().__init__(self._headscale)
        self.url = url
        self.authority = authority
        self.folder = reader.folder / "headscale"
        self._reader = reader

    def compose(self, *words: str, check: bool = True) -> str:
        """`docker compose` in the folder."""
        done = self._reader.type(f"cd headscale; docker compose {' '.join(words)}")
        assert done.returncode == 0 or not check, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def container(self, service: str) -> str:
        """The id of the service's container."""
        return self.compose("ps", "--all", "--quiet", service).strip()

    async def until_health(self, code: int) -> str:
        """Until the server's health check ends so; what it says."""
        async with asyncio.timeout(60):
            while (done := await self._headscale(["health"])).code != code:  # noqa: ASYNC110  (it is asked, nobody tells)
                await asyncio.sleep(0.5)
        return done.output

    async def start(self) -> None:
        await asyncio.to_thread(self.compose, "up", "--detach", "--wait")

    async def stop(self) -> None:
        await asyncio.to_thread(self.compose, "stop", "server")

    async def kill(self) -> None:
        await asyncio.to_thread(self.compose, "kill", "server")

    async def close(self) -> None:
        """The fixture ends it."""

    async def evidence(self) -> AsyncIterator[tuple[str, bytes | Path]]:
        for service in SERVICES:
            yield f"{service}.log", self.compose("logs", "--no-color", service, check=False).encode()

    async def _headscale(self, args: Sequence[str], *, stdin: str = "") -> Completed:
        name = await asyncio.to_thread(self.container, "server")
        process = await asyncio.create_subprocess_exec(
            *("docker", "exec", "-i", name, "headscale", *args),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode())
        return Completed(tuple(args), process.returncode or 0, out.decode(), err.decode(), 0.0)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def composed(
    image: str, stand_ins: Mapping[str, str], docker_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Composed]:
    """What the guide's commands leave running."""
    ports = {name: free_port("127.0.0.1") for name in ("HTTP_PORT", "HTTPS_PORT")}
    url = f"https://localhost:{ports['HTTPS_PORT']}"
    more = {
        **{name: f"127.0.0.1:{port}" for name, port in ports.items()},
        "HEADSCALE_STUN_PORT": f"127.0.0.1:{free_port('127.0.0.1', udp=True)}",
        "HEADSCALE_URL": url,
        "HEADSCALE_IMAGE": image,
        "POSTGRES_IMAGE": stand_ins["postgres"],
        "CADDY_IMAGE": stand_ins["caddy"],
        "CADDY_OPTIONS": "local_certs",
        "COMPOSE_PROJECT_NAME": f"hs-{secrets.token_hex(4)}",
        "DOCKER_CONFIG": str(docker_config),
    }
    folder = tmp_path_factory.mktemp("compose")
    reader = Reader(folder, INSTALL, instead={"hs.example.com": "localhost"}, more=more)
    try:
        done = await asyncio.to_thread(reader.follow, HEADING)
        if done.returncode != 0:
            logs = reader.type("cd headscale; docker compose ps --all; docker compose logs --tail 40")
            pytest.fail(f"{done.stdout}{done.stderr}{logs.stdout}{logs.stderr}")
        assert "hskey-auth-" in done.stdout
        root = reader.type(f"cd headscale; docker compose exec -T caddy cat {ROOT_CERTIFICATE}").stdout
        yield Composed(reader, url, root.encode())
    finally:
        reader.type("cd headscale; docker compose down --volumes --timeout 5 --remove-orphans")


@pytest_asyncio.fixture(loop_scope="session")
async def fronted(
    composed: Composed, backend: Backend, releases: tuple[Release, ...]
) -> AsyncIterator[Tailnet]:
    """A tailnet around it. Its clients must be where the published ports are: on this host."""
    assert Capability.OWN_PORTS not in backend.capabilities, "run this with --backend=process"
    async with backend.network("compose") as network:
        async with open_tailnet(composed, network, releases, History()) as made:
            yield made


async def test_clients_come_in_by_caddy_and_outlive_what_is_restarted(
    fronted: Tailnet, composed: Composed
) -> None:
    """They join over TLS and reach each other, and are themselves after the server's kill and while the database is
    away."""
    tailnet = fronted
    able = tailnet.able(Ability.OWN_ROOTS)
    clients = [await tailnet.join("alice", release) for release in (able[0], able[-1])]
    await tailnet.reach(clients)
    await _relay_answers(composed)
    before = [(node.id, node.addresses) for node in await composed.nodes()]
    registered = [
        line for line in composed.compose("logs", "server").splitlines() if "node registered" in line
    ]
    assert len(registered) >= len(clients)
    (caddy,) = inspect(composed.container("caddy"))["NetworkSettings"]["Networks"].values()
    assert not any(f"remote={caddy['IPAddress']} " in f"{line} " for line in registered)  # it is believed

    await composed.kill()
    await composed.start()
    after = await tailnet.until_nodes(all_online(len(clients)), Budget.RECONNECT)
    assert [(node.id, node.addresses) for node in after] == before

    await asyncio.to_thread(composed.compose, "stop", "database")
    assert "database" in await composed.until_health(1)
    await tailnet.reach(clients)
    await asyncio.to_thread(composed.compose, "start", "database")
    await composed.until_health(0)
    assert [(node.id, node.addresses) for node in await composed.nodes()] == before
    await tailnet.reach(clients)


async def _relay_answers(composed: Composed) -> None:
    """Caddy passes its upgrade on."""
    trust = ssl.create_default_context(cadata=composed.authority.decode())
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{composed.url}/derp", protocols=["derp"], ssl=trust) as socket:
            assert socket.protocol == "derp"


async def test_the_password_is_in_a_file_alone(composed: Composed) -> None:
    """Nobody's environment or command line has it, and the database takes no other."""
    password = (composed.folder / "secrets" / "database_password").read_text().strip()
    assert len(password) == 64
    for service in SERVICES:
        known = inspect(composed.container(service))
        assert password not in str(known)
    assert password not in composed.compose("exec", "-T", "server", "headscale", "dumpConfig", check=False)
    psql = "psql --host=127.0.0.1 --username=headscale --no-password --command='SELECT 1' headscale"
    for given, passes in ((password, True), ("another", False)):
        done = run(
            *("docker", "exec", "--env", f"PGPASSWORD={given}", composed.container("database")),
            *("sh", "-c", psql),
            check=passes,
        )
        assert ("password authentication failed" in done) is not passes


async def test_roots_are_read_only_and_the_database_is_out_of_reach(composed: Composed) -> None:
    """Nobody writes outside volumes and /tmp; only Caddy's ports and STUN are published; what ends is started anew."""
    published = {}
    for service in SERVICES:
        known = inspect(composed.container(service))
        assert known["HostConfig"]["ReadonlyRootfs"], service
        assert known["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert "no-new-privileges:true" in known["HostConfig"]["SecurityOpt"]
        said = run("docker", "exec", known["Id"], "sh", "-c", "echo x >/etc/file", check=False)
        assert "Read-only file system" in said, service
        published[service] = sorted(
            port for port, hosts in known["NetworkSettings"]["Ports"].items() if hosts
        )
    assert published == {"server": ["3478/udp"], "database": [], "caddy": ["443/tcp", "80/tcp"]}


async def test_http_leads_to_https(composed: Composed) -> None:
    """Caddy's doing: nobody logs in over the plain port."""
    caddy = inspect(composed.container("caddy"))
    port = caddy["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://localhost:{port}/key?v=100", allow_redirects=False) as answer:
            assert answer.status == 308
            assert answer.headers["Location"].startswith("https://localhost/")
