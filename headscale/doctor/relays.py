"""The relays that clients are told of: there are some, they take TLS connections, and they answer STUN."""

import asyncio
import secrets
import socket
from typing import Any, Final

from headscale import tls
from headscale.derp import stun
from headscale.derp.fetch import fetch, shown
from headscale.derp.regions import MAX_SOURCE_BYTES, Regions, merge, parse_json
from headscale.doctor.certificate import examine
from headscale.doctor.findings import Case, Finding, Verdict, failed, passed, skipped, warned
from headscale.doctor.wire import why
from headscale.errors import HeadscaleError
from headscale.sources.embedded import region_of
from headscale.sources.relays import read_map
from headscale.sources.watchedfile import WatchedFile
from headscale.tailcfg.derpmap import NO_ADDRESS, STUN_PORT_OFF, DERPNode, DERPRegion

STUN_S: Final = 1.0
STUN_TRIES: Final = 3
STUN_PORT: Final = 3478
DERP_PORT: Final = 443
# Tailscale's own map has some 30 regions with 80 relays.
AT_ONCE: Final = 16
MAP_S: Final = 10.0


async def check_relays(case: Case) -> list[Finding]:
    """The map, and each region in it: one relay that works is enough for a region."""
    sources, found = await _sources(case)
    regions = merge(sources, embedded=_embedded(case)).regions
    if not regions and any(each.verdict is Verdict.SKIP for each in found):
        return found
    if not regions:
        return [
            *found,
            failed(
                "relay map",
                "clients are told of no relay, and cannot work without one",
                "Set derp.server.enabled to true, or name maps in derp.urls or derp.paths",
            ),
        ]
    found.append(passed("relay map", f"{len(regions)} region{'s' if len(regions) > 1 else ''}"))
    turn = asyncio.Semaphore(AT_ONCE)
    checked = await asyncio.gather(*(_region(case, region, turn) for _, region in sorted(regions.items())))
    return [*found, *(finding for each in checked for finding in each)]


def _embedded(case: Case) -> DERPRegion | None:
    """Our own region; on its own listener with the certificate that is there, or with none until there is one."""
    derp = case.config.derp
    if derp is None or not derp.adds_region:
        return None
    certificate = None
    if not case.config.tailnet.server_url.startswith("https:"):
        try:
            certificate = tls.load_certificate(
                certificate_path=derp.tls_dir / "derp.crt", key_path=derp.tls_dir / "derp.key"
            ).certificate
        except HeadscaleError:
            return None
    return region_of(case.config, certificate)


async def _sources(case: Case) -> tuple[list[Regions], list[Finding]]:
    regions: list[Regions] = []
    found = []
    derp = case.config.derp
    if derp is not None and derp.adds_region and _embedded(case) is None:
        found.append(
            skipped("relay map", "the embedded relay has no certificate yet: it is made by the first start")
        )
    for url in case.config.derp_sources.urls:
        try:
            regions.append(parse_json(await fetch(url, seconds=MAP_S)))
        except HeadscaleError as problem:
            then = "Let this machine reach it; the server works with the last copy that it has"
            found.append(warned("relay map", f"{shown(url)}: {problem}", then))
    for path in case.config.derp_sources.paths:
        try:
            regions.append(read_map(WatchedFile(path, max_bytes=MAX_SOURCE_BYTES)))
        except HeadscaleError as problem:
            found.append(failed("relay map", str(problem), "Mend the file: no server starts with it"))
    return regions, found


async def _region(case: Case, region: DERPRegion, turn: asyncio.Semaphore) -> list[Finding]:
    """All findings of a region whose relays all fail; of one that works what fails counts as a warning."""
    checked = await asyncio.gather(*(_node(case, region, node, turn) for node in region.nodes))
    works = any(all(finding.verdict is not Verdict.FAIL for finding in each) for each in checked)
    found = [finding for each in checked for finding in each]
    if not works:
        return found
    return [
        Finding(each.check, Verdict.WARN, each.what, each.next) if each.verdict is Verdict.FAIL else each
        for each in found
    ]


async def _node(case: Case, region: DERPRegion, node: DERPNode, turn: asyncio.Semaphore) -> list[Finding]:
    name = f"relay {region.region_code}/{node.name}"
    async with turn:
        found = []
        if not node.stun_only:
            found += await _takes_tls(case, name, node)
        if node.stun_port != STUN_PORT_OFF:
            found.append(await _answers_stun(name, node))
        return found


async def _takes_tls(case: Case, name: str, node: DERPNode) -> list[Finding]:
    if node.insecure_for_tests:
        return [skipped(name, "its certificate is not looked at (InsecureForTests)")]
    address = next((ip for ip in (node.ipv4, node.ipv6) if ip and ip != NO_ADDRESS), "")
    port = node.derp_port or DERP_PORT
    if node.cert_name and not node.cert_name.startswith("sha256-raw:"):
        return await examine(f"{name} TLS", case, node.cert_name, port)
    return await examine(f"{name} TLS", case, node.host_name or address, port, cert_name=node.cert_name)


async def _answers_stun(name: str, node: DERPNode) -> Finding:
    check, port = f"{name} STUN", node.stun_port or STUN_PORT
    addresses = [ip for ip in (node.stun_test_ip, node.ipv4, node.ipv6) if ip and ip != NO_ADDRESS]
    host = addresses[0] if addresses else node.host_name
    for _ in range(STUN_TRIES):
        try:
            if await _asked(host, port):
                return passed(check, f"{host}:{port}/udp answers")
        except OSError as problem:
            then = "See that the relay runs, and its STUN port"
            return failed(check, f"{host}:{port}/udp: {why(problem)}", then)
    return failed(
        check,
        f"{host}:{port}/udp does not answer",
        f"Open UDP port {port} in the firewall (and publish it as udp for a container): without STUN clients find no "
        "direct ways and use relays for everything",
    )


async def _asked(host: str, port: int) -> bool:
    """Whether a binding request has its answer in time. Raises OSError for a host that cannot be sent to."""
    loop = asyncio.get_running_loop()
    transaction = secrets.token_bytes(stun.TRANSACTION_BYTES)
    answered: asyncio.Future[bool] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Asking(transaction, answered), remote_addr=(host, port), family=_family(host)
    )
    try:
        transport.sendto(stun.request(transaction))
        async with asyncio.timeout(STUN_S):
            return await answered
    except TimeoutError:
        return False
    finally:
        transport.close()


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_UNSPEC


class _Asking(asyncio.DatagramProtocol):
    """Waits for the answer to one request."""

    def __init__(self, transaction: bytes, answered: "asyncio.Future[bool]") -> None:
        self._transaction = transaction
        self._answered = answered

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """asyncio: something came; only a success with our transaction counts."""
        is_success = data[:2] == stun.BINDING_SUCCESS.to_bytes(2, "big")
        if is_success and data[8:20] == self._transaction and not self._answered.done():
            self._answered.set_result(True)

    def error_received(self, exc: Exception) -> None:
        """asyncio: the host says that nobody listens there."""
        if not self._answered.done():
            self._answered.set_exception(exc)
