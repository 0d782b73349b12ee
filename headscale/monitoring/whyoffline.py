"""Why a node is (not) online, in words, and what to do next.

A node is online while its client has a map stream open. What is known of the last one (`Sessions`) begins with the
server's start; what is older is in the node's record.
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from headscale.mapper.sessions import Visit
from headscale.mapper.stream import Ending
from headscale.records import Node, RegisterMethod
from headscale.state.snapshot import Snapshot

# A client that lost its server tries again after 45 s at most.
COMES_BACK_WITHIN: Final = timedelta(seconds=60)


class Cause(msgspec.Struct, frozen=True, rename="camel"):
    """One thing that keeps the node away: a word for scripts, what it is, and what to do."""

    code: str
    what: str
    next: str


class WhyOffline(msgspec.Struct, frozen=True, rename="camel"):
    """The answer. Times are the server's; `ended` and `ending` are of the last stream since the server started.

    `remote` is where that stream came from, `home_relay` the region where peers find the node.
    """

    id: str
    name: str
    online: bool
    summary: str
    causes: tuple[Cause, ...]
    server_time: datetime
    server_started: datetime
    last_seen: datetime | None
    connected: datetime | None
    ended: datetime | None
    ending: str
    remote: str
    os: str
    client_version: str
    capability_version: int
    home_relay: str
    endpoints: tuple[str, ...]
    expiry: datetime | None


_LOST: Final = "See whether the device is on and has a network, and that its clock is right (TLS needs that)"
_ENDINGS: Final = {
    Ending.CANCELLED: (
        "its client ended the stream itself, as `tailscale down`, a log-out or a shutdown does",
        "Run `tailscale up` on the device, or start tailscaled there",
    ),
    Ending.LOST: (
        "its connection broke without a word: the device sleeps, lost its network or power, or something between "
        "cuts long connections",
        f"{_LOST}. When many nodes go like this, a proxy or firewall may cut long connections: run `headscale doctor`",
    ),
    Ending.REPLACED: (
        "a newer stream took the place of the last one and was not kept",
        "Wait a minute; then look again",
    ),
    Ending.STUCK: (
        "its client took nothing for a minute, so the server cut the stream",
        f"{_LOST}. A proxy that buffers does this too: run `headscale doctor`",
    ),
    Ending.DELETED: ("it was deleted", "Let the device log in again with `tailscale up`"),
    Ending.SHUTDOWN: ("the server was going down", "Wait a minute; then look again"),
    Ending.FAILED: (
        "the server could not begin the stream",
        "Look into the server's log for the time when it ended",
    ),
}


def why_offline(
    snapshot: Snapshot, node: Node, visit: Visit | None, *, has_stream: bool, now: datetime
) -> WhyOffline:
    """What can be said of the node now. `has_stream`: whether a map stream of its client is open."""
    online = node.online and not node.expired and node.authorized
    causes = tuple(_causes(snapshot, node, visit, has_stream=has_stream, now=now))
    region = snapshot.derp_map.regions.get(node.home_derp)
    return WhyOffline(
        id=str(node.id),
        name=node.given_name,
        online=online,
        summary=_summary(node, visit, causes, online=online, has_stream=has_stream, now=now),
        causes=causes,
        server_time=now,
        server_started=snapshot.started_at,
        last_seen=node.last_seen,
        connected=visit.since if visit else None,
        ended=visit.ended if visit else None,
        ending=visit.ending.value if visit and visit.ending else "",
        remote=visit.remote if visit else "",
        os=node.hostinfo.os,
        client_version=node.hostinfo.ipn_version,
        capability_version=node.cap_version,
        home_relay=f"{node.home_derp} ({region.region_name})" if region else str(node.home_derp or ""),
        endpoints=node.endpoints,
        expiry=node.expiry,
    )


def _summary(
    node: Node,
    visit: Visit | None,
    causes: tuple[Cause, ...],
    *,
    online: bool,
    has_stream: bool,
    now: datetime,
) -> str:
    if node.is_wireguard_only:
        return (
            f"{node.given_name} is a WireGuard server that the configuration names: it never connects here, and "
            "whether it is there is not known"
        )
    if online and has_stream and visit is not None:
        since = f"{node.given_name} is online: connected since {ago(now - visit.since)} from {visit.remote}"
        return f"{since}; but see below" if causes else since
    if online:
        return f"{node.given_name} counts as online, but has no stream open now"
    state = "is connected, but of no use to others" if has_stream else "is offline"
    return f"{node.given_name} {state}: {causes[0].what}" if causes else f"{node.given_name} {state}"


def _causes(
    snapshot: Snapshot, node: Node, visit: Visit | None, *, has_stream: bool, now: datetime
) -> list[Cause]:
    causes = []
    if not node.authorized:
        causes.append(
            Cause(
                "not-approved", "it waits for approval", f"Let it in: `headscale nodes approve -i {node.id}`"
            )
        )
    if node.expired:
        ended = f"{node.expiry:%Y-%m-%d %H:%M} UTC" if node.expiry else "now"
        causes.append(
            Cause(
                "expired",
                f"its key ended ({ended}), so it has to log in again",
                "Run `tailscale up --force-reauth` on the device; or let the key never end: `headscale nodes expire "
                f"-i {node.id} --disable`",
            )
        )
    if node.is_wireguard_only:
        return causes
    if node.id in snapshot.silent:
        causes.append(
            Cause(
                "silent",
                "it did not answer when it was asked last, so that its routes go through others that have them",
                f"See whether the device hangs or is overloaded; `headscale nodes ping -i {node.id}` asks it again",
            )
        )
    if not has_stream:
        causes.append(_absence(snapshot, node, visit, now))
    if node.home_derp and node.home_derp not in snapshot.derp_map.regions:
        causes.append(
            Cause(
                "no-such-relay",
                f"its home relay is region {node.home_derp}, which is no longer in the map",
                "A client that connects chooses another; one that cannot may have all relays blocked: run "
                "`headscale doctor`, and `tailscale netcheck` on the device",
            )
        )
    elif has_stream and not node.home_derp:
        causes.append(
            Cause(
                "no-home-relay",
                "its client has found no relay that it can use, so that peers cannot find it",
                "Run `tailscale netcheck` on the device, and `headscale doctor`",
            )
        )
    return causes


def _absence(snapshot: Snapshot, node: Node, visit: Visit | None, now: datetime) -> Cause:
    """Why no stream is open."""
    if visit is not None and visit.ending is not None and visit.ended is not None:
        what, then = _ENDINGS[visit.ending]
        return Cause(visit.ending.value, f"{what} ({ago(now - visit.ended)} ago)", then)
    if visit is not None:
        return Cause("connecting", "its stream is just being opened", "Look again in a moment")
    if node.last_seen is None or node.last_seen <= node.created_at or node.created_at >= snapshot.started_at:
        how = "with a pre-auth key" if node.register_method is RegisterMethod.AUTH_KEY else "by a login"
        return Cause(
            "never-connected",
            f"it joined {how} {ago(now - node.created_at)} ago and never opened a stream",
            "See whether tailscaled runs on the device and what its log says. If it says that it cannot keep a "
            "connection, a proxy may stand between: run `headscale doctor`",
        )
    seen = f"it was seen last {ago(now - node.last_seen)} ago"
    up = now - snapshot.started_at
    if up < COMES_BACK_WITHIN:
        return Cause(
            "server-restarted",
            f"the server was started {ago(up)} ago, and it has not come back yet; {seen}",
            "Wait a minute; clients come back by themselves",
        )
    return Cause(
        "not-since-restart",
        f"it was not here since the server was started {ago(up)} ago; {seen}",
        f"{_LOST}. If the server's address changed, the device has to log in again with "
        f"`tailscale up --login-server {snapshot.settings.server_url}`",
    )


def ago(span: timedelta) -> str:
    """A time span for people, in its two largest units."""
    seconds = max(0, int(span.total_seconds()))
    parts: list[str] = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= size and len(parts) < 2:
            parts.append(f"{seconds // size} {name}")
            seconds %= size
        elif parts:
            break
    return " ".join(parts) or "0 s"
