"""The official Go client on a machine: `tailscaled` and the `tailscale` command of one release.

What the client does is asked of it the way a user would (its own command, whose words are the message the
user sees); what it knows is read from LocalAPI, woken by its notification stream. Nothing calls home: logs,
port mapping and the default control server are shut off, the last with a panic that would fail the test.
"""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from harness.artifacts import Item
from harness.backends.base import Capability
from harness.backends.machine import PACKETS, TAILSCALED_SOCKET, Machine
from harness.clients.base import Ability, By, CliResult
from harness.clients.bus import told
from harness.clients.localapi import EVERY_CHANGE, LocalAPI
from harness.clients.maplog import MapLog
from harness.clients.tunnel import Resolution, Tunnel, version_of
from harness.errors import AgentFailed, HarnessError, NotAnswering, NotReached
from harness.history import Source
from harness.progress import tail
from harness.reach import Probe, Target
from harness.status import Address, Status, parse_status
from harness.versions import Release
from harness.wait import Budget, Condition, until

DAEMON = "tailscaled"

QUIET: Mapping[str, str] = {
    "TS_NO_LOGS_NO_SUPPORT": "true",  # no log uploads (logpolicy), for the commands as for the daemon
    "TS_DISABLE_PORTMAPPER": "true",  # no UPnP, PMP or PCP questions to the gateway
    "TS_PANIC_IF_HIT_MAIN_CONTROL": "true",  # a client that turns to the default control server is a bug
    "TS_DEBUG_MAP": "1",  # every map response goes to the log, whatever server sent it
    "TZ": "UTC",  # the log's times
}
"""Source: tailscale 1.80.3 and 1.102.4, envknob, net/portmapper, control/controlclient (direct.go, DumpNetMaps)."""

FLOWS_OF_OWN_STACK = 142
"""From 1.102 on the packet filter also knows the UDP flows that begin in tailscaled's own network stack: before, they
are injected past it (net/tstun/wrap.go, injectedRead; tailscale/tailscale issue 14229)."""

NOTICED = timedelta(seconds=2)
"""A map response that was written to the log so lately belongs to the notification that made us look."""

ANSWERING: Condition[Status] = Condition("answers", lambda status: None)


class TailscaledClient:
    """See Client. Made by `start_client`."""

    abilities = frozenset(Ability)

    def __init__(self, machine: Machine, release: Release, *, env: Mapping[str, str] | None = None) -> None:
        self.machine = machine
        self.release = release
        if not machine.can(Capability.TUN) and release.capability < FLOWS_OF_OWN_STACK:
            self.abilities = TailscaledClient.abilities - {Ability.UDP_FLOWS}
        self.env = dict(env or {})
        """Added to the daemon's and the commands' environment at their next start."""
        self._api = LocalAPI(machine.data / TAILSCALED_SOCKET)
        self._changed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._told: Mapping[str, Any] = {}
        self._status: Status | None = None
        self._tunnel = Tunnel(machine, self._api)
        self._maps = MapLog(machine.data / f"{DAEMON}.log", version=release.capability)

    @property
    def name(self) -> str:
        return self.machine.name

    # ---- the daemon's life

    async def start(self) -> None:
        """Start the daemon with the state it has, and wait until it answers. The machine must be started."""
        await self._stop_watching()  # of a life that ended with the machine
        argv = [self.machine.program(DAEMON), "--socket", self.machine.path(TAILSCALED_SOCKET)]
        argv += ["--statedir", self.machine.path("state"), "--no-logs-no-support", "--port", "0"]
        argv += self._tunnel.flags()
        (self.machine.data / "state").mkdir(exist_ok=True)
        await self.machine.spawn(DAEMON, argv, env=self._environ())
        self._watching = asyncio.create_task(self._watch())
        try:
            await until(self, ANSWERING, Budget.DAEMON)
        except NotReached as problem:
            log = self.machine.data / f"{DAEMON}.log"
            raise HarnessError(f"{problem}\n{tail(log)}") from problem
        await self._tunnel.open()

    async def stop(self) -> None:
        """End the daemon in good order (SIGTERM); the state stays."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End the daemon at once (SIGKILL); the state stays as it happens to be."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """Stop and start with the same state, and with `env` as it is now."""
        await self.stop()
        await self.start()

    async def close(self) -> None:
        """End the daemon and every connection to it."""
        if self.machine.is_running(DAEMON):
            with contextlib.suppress(AgentFailed, TimeoutError):
                await self.stop()
        await self._stop_watching()

    async def _end(self, number: int) -> None:
        await self.machine.signal(DAEMON, number)
        await asyncio.wait_for(self.machine.ended(DAEMON), Budget.DAEMON.seconds)
        await self._stop_watching()

    async def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
            self._watching = None
        await self._api.close()

    def _environ(self) -> dict[str, str]:
        return {**QUIET, "TS_LOGS_DIR": self.machine.path("state"), **self.env}

    # ---- what it knows

    async def read(self) -> Status:
        """Its status now. Raises NotAnswering while the daemon is down or starting."""
        if not self.machine.is_running(DAEMON):
            raise NotAnswering(f"{DAEMON} is not running on {self.name}")
        self._changed.clear()
        self._status = parse_status(await self._api.get("status"))
        return self._status

    async def changed(self, within: float) -> None:
        """Return at the daemon's next notification, at the latest after `within` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), within)

    async def prefs(self) -> Mapping[str, Any]:
        """Its preferences, in Go's JSON."""
        return dict(await self._api.get("prefs"))

    async def netmap(self) -> Mapping[str, Any]:
        """The whole netmap as it holds it, in Go's JSON. Raises NotAnswering while there is none."""
        return await self._api.netmap()

    async def until(self, condition: Condition[Status], budget: Budget) -> Status:
        """Wait for a condition on its status."""
        return await until(self, condition, budget)

    @property
    def status(self) -> Status:
        """The status of the last read."""
        if self._status is None:
            raise HarnessError(f"{self.name} has not been read yet")
        return self._status

    @property
    def last_status(self) -> Status | None:
        """The same; None when it was never read."""
        return self._status

    def address(self, version: Literal[4, 6] = 4) -> Address:
        """Its tailnet address of that IP version, as of the last read."""
        for address in self.status.addresses:
            if address.version == version:
                return address
        raise HarnessError(f"{self.name} has no IPv{version} address; its state is {self.status.state}")

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(NotAnswering):
                async for notification in self._api.watch(EVERY_CHANGE):
                    self._changed.set()
                    self._record(notification)
            await asyncio.sleep(0.05)  # the daemon is starting or gone

    def _record(self, notification: Mapping[str, Any]) -> None:
        """What the server sent comes first in the history, then what the client made of it."""
        self._record_maps()
        words = told(notification)
        if words and words != self._told:  # health is told again and again
            self.machine.history.add(Source.CLIENT, self.name, "notified", words)
            self._told = words

    def _record_maps(self) -> None:
        history = self.machine.history
        for response in self._maps.take():
            # The log's times are whole seconds: good enough for what was not noticed at once.
            noticed = response.logged is None or history.clock.now() - response.logged < NOTICED
            wall = None if noticed else response.logged
            history.add(Source.MAP, self.name, response.kind, response.fields, wall=wall)

    async def evidence(self) -> AsyncIterator[Item]:
        """Its logs, what LocalAPI still says, and the packets that its machine last saw."""
        self._record_maps()
        if self._maps.responses:
            yield "maps.jsonl", "".join(f"{each.line()}\n" for each in self._maps.responses).encode()
        for log in sorted(self.machine.data.glob("*.log")):
            yield log.name, log
        for name, read in (
            ("status", partial(self._api.get, "status")),
            ("prefs", self.prefs),
            ("netmap", self.netmap),
        ):
            try:
                content = json.dumps(await read(), indent=2)
            except NotAnswering as error:
                content = json.dumps({"error": str(error)})
            yield f"{name}.json", content.encode()
        with contextlib.suppress(AgentFailed):  # on a machine that is off, or shares the host's network
            yield PACKETS, await self.machine.packets()

    # ---- what its user does

    async def cli(self, *args: str, budget: Budget = Budget.COMMAND) -> CliResult:
        """Run `tailscale` with these arguments. Raises ExecTimedOut when it does not end."""
        argv = [self.machine.program("tailscale"), "--socket", self.machine.path(TAILSCALED_SOCKET), *args]
        limit = timedelta(seconds=budget.seconds)
        done = await self.machine.exec(argv, timeout=limit, env=self._environ())
        return CliResult(f"tailscale {' '.join(map(_masked, args))}", done.code, done.output)

    async def up(
        self,
        login_server: str,
        *,
        auth_key: str | None = None,
        hostname: str | None = None,
        extra: Sequence[str] = (),
    ) -> CliResult:
        """`tailscale up`: returns when the client is Running or the server said no."""
        # --reset: for a moment after a logout the command finds settings that it wants mentioned (seen with 1.80.3).
        args = ["up", "--reset", f"--login-server={login_server}", f"--hostname={hostname or self.name}"]
        if auth_key is not None:
            args.append(f"--auth-key={auth_key}")
        result = await self.cli(*args, *extra, budget=Budget.JOIN)
        await self.read()
        return result

    async def reconnect(self) -> CliResult:
        """`tailscale up` without any flag: connect again with the preferences as they are."""
        return await self.cli("up", budget=Budget.JOIN)

    async def login(self, login_server: str, *, auth_key: str, extra: Sequence[str] = ()) -> CliResult:
        """`tailscale login`: add a profile, such as another user's, and switch to it."""
        args = [f"--login-server={login_server}", f"--hostname={self.name}", f"--auth-key={auth_key}"]
        return await self.cli("login", *args, *extra, budget=Budget.JOIN)

    async def down(self) -> CliResult:
        """`tailscale down`: disconnect and stay logged in."""
        return await self.cli("down")

    async def logout(self) -> CliResult:
        """`tailscale logout`: disconnect and give the node key up."""
        return await self.cli("logout")

    async def set(self, *args: str) -> CliResult:
        """`tailscale set`, such as `--hostname=new`."""
        return await self.cli("set", *args)

    # ---- its tunnel

    @property
    def echo_port(self) -> int:
        """Where its agent answers echoes over TCP and UDP."""
        return self._tunnel.echo_port

    async def listen(self, port: int) -> None:
        """Also answer echoes on this port, TCP and UDP, also in later lives of the machine."""
        await self._tunnel.listen(port)

    def tcp(self, port: int | None = None, *, by: By = "ipv4") -> Target:
        """This client's echo over TCP."""
        return Target(self.name, "tcp", self._where(by), self._tunnel.port(port))

    def udp(self, port: int | None = None, *, by: By = "ipv4") -> Target:
        """This client's echo over UDP."""
        return Target(self.name, "udp", self._where(by), self._tunnel.port(port))

    def icmp(self, *, by: By = "ipv4") -> Target:
        """This client's answer to ICMP echo requests."""
        return Target(self.name, "icmp", self._where(by))

    async def resolve(self, name: str, kind: Literal["A", "AAAA"] = "A") -> Resolution:
        """Ask MagicDNS from this machine. See Tunnel.resolve for a limit of userspace mode."""
        by = version_of(self._status) if self._status is not None else 4
        return await self._tunnel.resolve(name, kind, by=by)

    async def probe(self, target: Target, *, within: float) -> Probe:
        """Try once to reach a target through the tunnel. A name is resolved by MagicDNS."""
        try:
            status = await self.read()
        except NotAnswering as error:
            return Probe(answered=False, reason=str(error))
        return await self._tunnel.probe(target, status, within=within)

    async def row(
        self, targets: Sequence[Target], *, senders: Sequence[Collection[str]], within: float
    ) -> list[Probe]:
        """Try many targets once, all at the same time; see Tunnel.row. Capability.TUN."""
        return await self._tunnel.row(targets, senders=senders, within=within)

    def _where(self, by: By) -> str:
        if by != "name":
            return str(self.address(4 if by == "ipv4" else 6))
        own = self.status.self_node
        if own is None or not own.dns_name:
            raise HarnessError(f"{self.name} has no MagicDNS name; its state is {self.status.state}")
        return own.dns_name.rstrip(".")


def _masked(argument: str) -> str:
    """A key never reaches a report or a history."""
    option, given, _ = argument.partition("=")
    return f"{option}=…" if given and option in ("--auth-key", "--authkey") else argument


async def start_client(
    machine: Machine, release: Release, *, env: Mapping[str, str] | None = None
) -> TailscaledClient:
    """A client whose daemon runs and answers; it is not logged in yet."""
    client = TailscaledClient(machine, release, env=env)
    await client.start()
    return client
