"""Which address a new node gets.

Sequential goes on after the address that was given last (from the start of the prefix when the process is
new, so that holes are filled some day), random takes any free one. Some addresses are never given: network
and broadcast, the two service addresses that every client answers itself, and the block that ChromeOS
uses. An address that was given back rests before anyone else gets it, so that peers with an older map do
not talk to a stranger.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from headscale.errors import Unavailable
from headscale.policy.subjects import Network
from headscale.records import Address, Allocation
from headscale.state.effect import Moment
from headscale.state.snapshot import Snapshot

REST: Final = timedelta(minutes=10)
SERVICE_V4: Final = IPv4Address("100.100.100.100")
SERVICE_V6: Final = IPv6Address("fd7a:115c:a1e0::53")
CHROMEOS: Final = IPv4Network("100.115.92.0/23")


def allocate(
    snapshot: Snapshot, moment: Moment, *, pools: Iterable[Network] = ()
) -> tuple[IPv4Address | None, IPv6Address | None]:
    """An address of each family that the tailnet has; raises Unavailable when a prefix is full.

    With `pools` (of the policy's `nodeAttrs`) the IPv4 address comes from the first of them that has one left, and
    from nowhere else.
    """
    settings = snapshot.settings
    v4: Address | None = None
    v6: Address | None = None
    pools = tuple(pools)
    if settings.prefix_v4 and pools:
        v4 = _from_pools(snapshot, moment, pools)
    elif settings.prefix_v4:
        v4 = _pick(snapshot, settings.prefix_v4, snapshot.last_ipv4, moment)
    if settings.prefix_v6:
        v6 = _pick(snapshot, settings.prefix_v6, snapshot.last_ipv6, moment)
    return (
        v4 if isinstance(v4, IPv4Address) else None,
        v6 if isinstance(v6, IPv6Address) else None,
    )


def _from_pools(snapshot: Snapshot, moment: Moment, pools: tuple[Network, ...]) -> Address:
    for pool in pools:
        try:
            return _pick(snapshot, pool, None, moment)
        except Unavailable:
            continue
    named = ", ".join(map(str, pools))
    raise Unavailable(f"no address is left in {named}: delete nodes or give ipPool in the policy more")


def _pick(
    snapshot: Snapshot, prefix: IPv4Network | IPv6Network, last: Address | None, moment: Moment
) -> Address:
    """One pass over the prefix from the starting point, so that a full prefix ends the search.

    Every address that is skipped is either in use, resting or one of a handful of reserved ones, so the walk
    is as long as the tailnet is large, whatever the size of the prefix.
    """
    size = prefix.num_addresses
    if snapshot.settings.allocation is Allocation.RANDOM:
        offset = moment.randbelow(size)
    else:
        offset = (
            (int(last) + 1 - int(prefix.network_address)) % size if last is not None and last in prefix else 0
        )
    walked = 0
    while walked < size:
        address = prefix[offset]
        if address in CHROMEOS:
            skipped = int(CHROMEOS.broadcast_address) - int(address) + 1
            offset, walked = (offset + skipped) % size, walked + skipped
            continue
        if _is_free(snapshot, address, prefix, moment.now):
            return address
        offset, walked = (offset + 1) % size, walked + 1
    raise Unavailable(f"no address is left in {prefix}: delete nodes or configure a larger prefix")


def _is_free(snapshot: Snapshot, address: Address, prefix: IPv4Network | IPv6Network, now: datetime) -> bool:
    if address in snapshot.node_by_address or not is_given(address, prefix):
        return False
    released = snapshot.released.get(address)
    return released is None or now - released >= REST


def is_given(address: Address, prefix: IPv4Network | IPv6Network) -> bool:
    """Whether some node may have this address of the prefix."""
    if address in (SERVICE_V4, SERVICE_V6) or address in CHROMEOS:
        return False
    return prefix.num_addresses <= 2 or address not in (prefix.network_address, prefix.broadcast_address)
