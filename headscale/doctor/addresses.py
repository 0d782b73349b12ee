"""The tailnet's addresses: where clients expect them, nobody else's here, and enough of them."""

import ipaddress
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from headscale.doctor.findings import Case, Finding, failed, passed, warned
from headscale.policy.subjects import Network
from headscale.records import TailnetSettings

CGNAT: Final = ipaddress.IPv4Network("100.64.0.0/10")
ULA: Final = ipaddress.IPv6Network("fd7a:115c:a1e0::/48")
ROUTES_V4: Final = Path("/proc/net/route")
ROUTES_V6: Final = Path("/proc/net/ipv6_route")
# Of a client on this very machine: those routes are the tailnet itself.
CLIENT_INTERFACES: Final = ("tailscale", "utun", "ts-")
FULL_AT: Final = 0.9
_UP: Final = 1  # RTF_UP


async def check_addresses(case: Case) -> list[Finding]:
    """One finding for each prefix and each of: range, overlap, how full it is."""
    settings = case.config.tailnet
    nodes = case.database.nodes if case.database is not None else ()
    used = {address for node in nodes for address in node.addresses}
    routes = [*local_routes()]
    found: list[Finding] = []
    for prefix in _prefixes(settings):
        found += [
            *_range(prefix),
            *_overlap(prefix, routes),
            *_room(prefix, sum(address in prefix for address in used)),
        ]
    outside = [a for a in used if not any(a in prefix for prefix in _prefixes(settings))]
    if outside:
        found.append(
            warned(
                "addresses of nodes",
                f"{len(outside)} addresses of nodes (such as {min(map(str, outside))}) are in no prefix",
                "Set the prefixes that nodes were given addresses from, or run `headscale nodes backfillips`",
            )
        )
    return found


def _prefixes(settings: TailnetSettings) -> list[Network]:
    return [prefix for prefix in (settings.prefix_v4, settings.prefix_v6) if prefix is not None]


def _range(prefix: Network) -> Iterator[Finding]:
    usual = CGNAT if prefix.version == 4 else ULA
    if prefix.version == usual.version and prefix.subnet_of(usual):  # type: ignore[arg-type]
        yield passed("prefix range", f"{prefix} is inside {usual}")
    else:
        yield warned(
            "prefix range",
            f"{prefix} is outside {usual}",
            f"Clients take only addresses of {usual} for the tailnet's in many places (firewall rules, DNS, SSH); "
            "choose a prefix inside before nodes join",
        )


def _overlap(prefix: Network, routes: list[tuple[str, Network]]) -> Iterator[Finding]:
    clashes = [
        (name, route) for name, route in routes if route.version == prefix.version and route.overlaps(prefix)
    ]
    for name, route in clashes:
        yield warned(
            "prefix overlap",
            f"{prefix} overlaps {route}, which this machine reaches through {name}",
            "A provider may use the shared address space too: choose a smaller prefix beside it, such as "
            "100.100.0.0/16, before nodes join",
        )
    if not clashes:
        yield passed("prefix overlap", f"no route of this machine is in {prefix}")


def _room(prefix: Network, used: int) -> Iterator[Finding]:
    size = prefix.num_addresses - (2 if prefix.version == 4 and prefix.prefixlen < 31 else 0)
    text = f"{used} of {size if size < 10**9 else '2^' + str(prefix.max_prefixlen - prefix.prefixlen)} in {prefix}"
    if used >= size:
        yield failed(
            "prefix room", f"every address is given: {text}", "Delete nodes, or take a larger prefix"
        )
    elif used >= FULL_AT * size:
        yield warned(
            "prefix room", f"nearly full: {text}", "Delete nodes that are gone, or take a larger prefix"
        )
    else:
        yield passed("prefix room", text)


def local_routes(v4: Path = ROUTES_V4, v6: Path = ROUTES_V6) -> Iterator[tuple[str, Network]]:
    """Interface and destination of this machine's routes, but for default ones and those of a client; Linux only."""
    for name, network in (*_read_v4(v4), *_read_v6(v6)):
        is_ours = name.startswith(CLIENT_INTERFACES) or name == "lo"
        if network.prefixlen and not is_ours and not network.is_link_local and not network.is_multicast:
            yield name, network


def _read_v4(path: Path) -> Iterator[tuple[str, Network]]:
    """Addresses stand there as they are in memory, in hex."""
    for fields in _lines(path)[1:]:
        if int(fields[3], 16) & _UP:
            address, mask = (struct.pack("=I", int(fields[at], 16)) for at in (1, 7))
            length = int.from_bytes(mask, "big").bit_count()
            yield fields[0], ipaddress.IPv4Network((address, length), strict=False)


def _read_v6(path: Path) -> Iterator[tuple[str, Network]]:
    for fields in _lines(path):
        if int(fields[8], 16) & _UP:
            network = ipaddress.IPv6Network((bytes.fromhex(fields[0]), int(fields[1], 16)), strict=False)
            yield fields[9], network


def _lines(path: Path) -> list[list[str]]:
    try:
        return [line.split() for line in path.read_text("ascii").splitlines()]
    except OSError:
        return []
