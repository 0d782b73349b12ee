"""The official Rust client on a machine: our small program around tailscale-rs (`program/`), driven over a socket.

tailscale-rs 0.6.1 is a library without a command line, a DNS resolver or a kernel interface: its tailnet is
inside the program, and so are our echo service and probes. What its users would have to write around it (watching
the control connection, stopping and starting it) the program does; what the library cannot do at all raises
Unsupported. See `abilities`: without OUTAGE, because the library's runtime ends, tunnel and all, when it cannot
reach the control server five times in a row, which takes it a few milliseconds; and it goes on using the session
with a peer whose node key has changed (ts_tunnel endpoint.rs, upsert_peer), so such a peer stays out of reach;
without FILTER, because its packet filter takes each packet by itself (ts_dataplane lib.rs, process_inbound), also those
that answer it; and without UDP_PORTS, because our program reads UDP answers at one port.
"""

import asyncio
import contextlib
import json
import secrets
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, NoReturn

from harness.agent.connection import AgentConnection, Event, connect
from harness.artifacts import Item
from harness.backends.machine import PACKETS, Machine, check_socket_path
from harness.clients.base import Ability, By, CliResult
from harness.clients.tunnel import ECHO_PORT, Resolution, judge, outside_netmap
from harness.errors import AgentFailed, HarnessError, NotAnswering, Unsupported
from harness.reach import Probe, Target
from harness.status import Address, Status, parse_status
from harness.versions import Release
from harness.wait import Budget, Condition, until

PROGRAM = "harness-rust-client"

SOCKET = "rust.sock"

UP_SECONDS_SPARE = 5.0
"""The program gives `up` that much less than its budget, so that its own reason is what is read."""

ABILITIES = frozenset({Ability.ICMP, Ability.NAMES, Ability.DOWN})

ANSWERING: Condition[Status] = Condition("answers", lambda status: None)


class RustClient:
    """See Client. Made by `start_rust_client`."""

    abilities = ABILITIES
    echo_port = ECHO_PORT
    """In the tailnet; the machine's own ports are not touched."""

    def __init__(self, machine: Machine, release: Release, *, env: Mapping[str, str] | None = None) -> None:
        self.machine = machine
        self.release = release
        self.env = dict(env or {})
        """Added to the program's environment at its next start."""
        self._connection: AgentConnection | None = None
        self._changed = asyncio.Event()
        self._status: Status | None = None
        self._login: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        return self.machine.name

    # ---- the program's life

    async def start(self) -> None:
        """Start the program with the state it has, and wait until it answers. The machine must be started."""
        await self._disconnect()  # from a life that ended with the machine
        socket = self.machine.data / SOCKET
        check_socket_path(socket)
        socket.unlink(missing_ok=True)
        (self.machine.data / "state").mkdir(exist_ok=True)
        argv = [self.machine.program(PROGRAM), "--name", self.name, "--echo-port", str(self.echo_port)]
        argv += ["--socket", self.machine.path(SOCKET), "--state", self.machine.path("state")]
        await self.machine.spawn(PROGRAM, argv, env=self.env)
        self._connection = await connect(socket, self._on_event, within=Budget.DAEMON.seconds)
        await until(self, ANSWERING, Budget.DAEMON)

    async def stop(self) -> None:
        """End the program in good order (SIGTERM); the state stays."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End the program at once (SIGKILL); the state stays as it happens to be."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """Stop and start with the same state, and with `env` as it is now."""
        await self.stop()
        await self.start()

    async def close(self) -> None:
        """End the program and the connection to it."""
        if self.machine.is_running(PROGRAM):
            with contextlib.suppress(AgentFailed, TimeoutError):
                await self.stop()
        await self._disconnect()

    async def _end(self, number: int) -> None:
        await self.machine.signal(PROGRAM, number)
        await asyncio.wait_for(self.machine.ended(PROGRAM), Budget.DAEMON.seconds)
        await self._disconnect()

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    def _on_event(self, _: Event) -> None:
        self._changed.set()

    async def _call(self, op: str, **arguments: Any) -> Any:
        if self._connection is None or not self.machine.is_running(PROGRAM):
            raise NotAnswering(f"{PROGRAM} is not running on {self.name}")
        return await self._connection.call(op, **arguments)

    # ---- what it knows

    async def read(self) -> Status:
        """Its status now. Raises NotAnswering while the program is down or starting."""
        self._changed.clear()
        try:
            self._status = parse_status(await self._call("status"))
        except AgentFailed as error:
            raise NotAnswering(str(error)) from error
        return self._status

    async def changed(self, within: float) -> None:
        """Return at the program's next notification, at the latest after `within` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), within)

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

    async def prefs(self) -> Mapping[str, Any]:
        """Not to be had."""
        self._cannot("has no preferences to show")

    async def netmap(self) -> Mapping[str, Any]:
        """Not to be had."""
        self._cannot("shows single peers of its netmap, never the whole")

    async def evidence(self) -> AsyncIterator[Item]:
        """Its logs, and its status while it answers."""
        for log in sorted(self.machine.data.glob("*.log")):
            yield log.name, log
        try:
            content = await self._call("status")
        except (NotAnswering, AgentFailed) as error:
            content = {"error": str(error)}
        yield "status.json", json.dumps(content, indent=2).encode()
        with contextlib.suppress(AgentFailed):
            yield PACKETS, await self.machine.packets()

    # ---- what its user does

    async def up(
        self,
        login_server: str,
        *,
        auth_key: str | None = None,
        hostname: str | None = None,
        extra: Sequence[str] = (),
    ) -> CliResult:
        """Connect, which returns when it is Running or the server said no.

        The message of a refusal is the library's, then a colon and the server's own words.
        """
        if extra:
            self._cannot(f"has no command line for {' '.join(extra)}")
        self._login = login_server, hostname or self.name
        return await self._up(*self._login, auth_key=auth_key)

    async def reconnect(self) -> CliResult:
        """Connect again as at the last `up`, with the keys it has."""
        if self._login is None:
            raise HarnessError(f"{self.name} was never up")
        return await self._up(*self._login, auth_key=None)

    async def down(self) -> CliResult:
        """End the library's runtime and keep the keys, which is all that there is to `down` for it."""
        await self._call("down")
        return CliResult("down", 0, "")

    async def login(self, login_server: str, *, auth_key: str, extra: Sequence[str] = ()) -> CliResult:
        """Not possible."""
        self._cannot("has no profiles")

    async def logout(self) -> CliResult:
        """Not possible."""
        self._cannot("cannot give its node key up: its registration has no expiry")

    async def set(self, *args: str) -> CliResult:
        """Not possible."""
        self._cannot(f"has no command line for {' '.join(args)}")

    async def cli(self, *args: str, budget: Budget = Budget.COMMAND) -> CliResult:
        """Not possible."""
        self._cannot(f"has no command line for {' '.join(args)}")

    async def _up(self, login_server: str, hostname: str, *, auth_key: str | None) -> CliResult:
        seconds = Budget.JOIN.seconds - UP_SECONDS_SPARE
        outcome = await self._call(
            "up",
            login_server=login_server,
            hostname=hostname,
            auth_key=auth_key,
            timeout_ms=round(seconds * 1000),
        )
        await self.read()
        return CliResult(f"up {login_server}", 0 if outcome["ok"] else 1, outcome["message"])

    # ---- its tunnel

    async def listen(self, port: int) -> None:
        """Also answer echoes on this port of its tailnet addresses, TCP and UDP."""
        await self._call("listen", port=port)

    def tcp(self, port: int | None = None, *, by: By = "ipv4") -> Target:
        """This client's echo over TCP."""
        return Target(self.name, "tcp", self._where(by), port or self.echo_port)

    def udp(self, port: int | None = None, *, by: By = "ipv4") -> Target:
        """This client's echo over UDP."""
        return Target(self.name, "udp", self._where(by), port or self.echo_port)

    def icmp(self, *, by: By = "ipv4") -> Target:
        """This client's answer to ICMP echo requests, which the program gives: the library leaves them alone."""
        return Target(self.name, "icmp", self._where(by))

    async def resolve(self, name: str, kind: Literal["A", "AAAA"] = "A") -> Resolution:
        """Look a peer up by its MagicDNS name in the library; there is no resolver to ask."""
        answer = await self._call("resolve", name=name, type=kind)
        return Resolution(answer["rcode"], tuple(answer["addresses"]))

    async def probe(self, target: Target, *, within: float) -> Probe:
        """Try once to reach a target through the tunnel. A name is looked up in the library."""
        try:
            status = await self.read()
            if (refusal := outside_netmap(status, target.address)) is not None:
                return refusal
            seen = await self._call(
                "probe",
                network=target.transport,
                address=target.address,
                port=target.port,
                timeout_ms=round(within * 1000),
                nonce=secrets.token_hex(8),
            )
        except (NotAnswering, AgentFailed) as error:
            return Probe(answered=False, reason=str(error))
        return judge(seen, target, own={str(address) for address in status.addresses})

    def _where(self, by: By) -> str:
        if by != "name":
            return str(self.address(4 if by == "ipv4" else 6))
        own = self.status.self_node
        if own is None or not own.dns_name:
            raise HarnessError(f"{self.name} has no MagicDNS name; its state is {self.status.state}")
        return own.dns_name.rstrip(".")

    def _cannot(self, why: str) -> NoReturn:
        raise Unsupported(f"{self.name}: tailscale-rs {self.release.version} {why}")


async def start_rust_client(
    machine: Machine, release: Release, *, env: Mapping[str, str] | None = None
) -> RustClient:
    """A client whose program runs and answers; it is not connected yet."""
    client = RustClient(machine, release, env=env)
    await client.start()
    return client
