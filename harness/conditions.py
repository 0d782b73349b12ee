"""Named predicates on a Status. Each can say why it does not hold yet, which is what a timeout reports."""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta

from harness.status import Node, Status
from harness.wait import Condition

SECOND = timedelta(seconds=1)


def state_is(state: str) -> Condition[Status]:
    """The backend is in this state."""
    return Condition(
        f"state is {state}",
        lambda s: None if s.state == state else f"state is {s.state}{_health(s)}",
    )


def running() -> Condition[Status]:
    """Connected: a netmap is there, the key is good, and a DERP connection lives."""
    return state_is("Running")


def needs_login() -> Condition[Status]:
    """The client has no credentials that the server takes."""
    return state_is("NeedsLogin")


def needs_approval() -> Condition[Status]:
    """The client is in, but an administrator has to let it see others."""
    return state_is("NeedsMachineAuth")


def warned_of(words: str) -> Condition[Status]:
    """The client shows its user a trouble with these words."""

    def why_not(s: Status) -> str | None:
        return None if any(words in each for each in s.health) else f"health is {list(s.health)}"

    return Condition(f"is warned of {words!r}", why_not)


def healthy_about(words: str) -> Condition[Status]:
    """The client shows its user no trouble with these words."""

    def why_not(s: Status) -> str | None:
        return f"health is {list(s.health)}" if any(words in each for each in s.health) else None

    return Condition(f"is not warned of {words!r}", why_not)


def stopped() -> Condition[Status]:
    """After `tailscale down`."""
    return state_is("Stopped")


def has_addresses(versions: Collection[int] = (4, 6)) -> Condition[Status]:
    """The client has a tailnet address of each of these IP versions and of no other."""

    def why_not(s: Status) -> str | None:
        found = {address.version for address in s.addresses}
        return None if found == set(versions) else f"addresses are {[str(a) for a in s.addresses]}"

    return Condition(f"has an address of IPv{' and IPv'.join(map(str, versions))}", why_not)


def has_login_url() -> Condition[Status]:
    """The server wants a person to visit a page."""
    return Condition("has a login URL", lambda s: None if s.auth_url else f"no login URL; state is {s.state}")


def has_login_url_beside(url: str) -> Condition[Status]:
    """The server wants a person to visit a page, and no longer that one."""

    def why_not(s: Status) -> str | None:
        if not s.auth_url:
            return f"no login URL; state is {s.state}"
        return "shows the same login URL" if s.auth_url == url else None

    return Condition("has another login URL", why_not)


def shows_no_login_url() -> Condition[Status]:
    """Nobody has to visit a page, or no longer."""
    return Condition("shows no login URL", lambda s: f"shows {s.auth_url}" if s.auth_url else None)


def own_name(name: str) -> Condition[Status]:
    """The client knows itself under this name."""

    def why_not(s: Status) -> str | None:
        known = s.self_node.name if s.self_node else "none"
        return None if known == name else f"its name is {known}"

    return Condition(f"is named {name}", why_not)


def tagged(tags: Iterable[str]) -> Condition[Status]:
    """The client knows itself under these tags and no others."""
    wanted = tuple(sorted(tags))

    def why_not(s: Status) -> str | None:
        known = tuple(sorted(s.self_node.tags)) if s.self_node else None
        return None if known == wanted else f"its tags are {known}"

    return Condition(f"has the tags {list(wanted)}", why_not)


def sees(names: Iterable[str]) -> Condition[Status]:
    """All of these are among the client's peers, with addresses."""
    wanted = sorted(names)

    def why_not(s: Status) -> str | None:
        missing = [n for n in wanted if (p := s.peer(n)) is None or not p.addresses]
        return f"misses {missing}; sees {_names(s)}" if missing else None

    return Condition(f"sees {wanted}", why_not)


def sees_exactly(names: Iterable[str]) -> Condition[Status]:
    """The client's peers are these and no others."""
    wanted = sorted(names)
    return Condition(
        f"sees exactly {wanted}", lambda s: None if _names(s) == wanted else f"sees {_names(s)} instead"
    )


def sees_online(name: str) -> Condition[Status]:
    """The peer is there and connected to the control server."""
    return _peer(f"sees {name} online", name, lambda p: None if p.online else f"{name} is offline")


def sees_offline(name: str) -> Condition[Status]:
    """The peer is there and not connected to the control server."""
    return _peer(f"sees {name} offline", name, lambda p: f"{name} is online" if p.online else None)


def sees_expired(name: str) -> Condition[Status]:
    """The peer is there and its key has expired."""
    return _peer(f"sees {name} expired", name, lambda p: None if p.expired else f"{name} is not expired")


def sees_unexpired(name: str) -> Condition[Status]:
    """The peer is there and its key is good."""
    return _peer(f"sees {name} unexpired", name, lambda p: f"{name} is expired" if p.expired else None)


def expires(at: datetime, *, peer: str | None = None, within: timedelta = SECOND) -> Condition[Status]:
    """The client's own key, or that peer's, ends at this time, to the second unless told otherwise."""

    def why_not(node: Node) -> str | None:
        known = datetime.fromisoformat(node.key_expiry) if node.key_expiry else None
        return None if known is not None and abs(known - at) < within else f"its key ends {known or 'never'}"

    return _node(f"has a key until {at:%H:%M:%S}", peer, why_not)


def never_expires(*, peer: str | None = None) -> Condition[Status]:
    """The client's own key, or that peer's, does not end."""
    return _node("has a key without end", peer, lambda n: f"ends {n.key_expiry}" if n.key_expiry else None)


def routes_through(name: str, route: str) -> Condition[Status]:
    """The peer is the way to this route."""
    return _peer(
        f"goes to {route} through {name}",
        name,
        lambda p: None if route in p.primary_routes else f"{name} has the routes {list(p.primary_routes)}",
    )


def offers_exits(*names: str) -> Condition[Status]:
    """These peers, and no others, may be used as exit nodes."""

    def why_not(status: Status) -> str | None:
        offered = sorted(peer.name for peer in status.peers if peer.exit_node_option)
        return None if offered == sorted(names) else f"may leave through {offered}"

    return Condition(f"may leave through {sorted(names)}", why_not)


def knows_peer_api(name: str) -> Condition[Status]:
    """The client was told where the peer serves its peers.

    Wait for it before the peer is used as an exit node for names: a client that is told of the port while it sets
    up its DNS may keep the set-up without it (1.80.3, ipn/ipnlocal, authReconfig and exitNodeCanProxyDNS).
    """
    return _peer(
        f"knows the peer API of {name}",
        name,
        lambda p: None if p.peer_api else f"knows of no peer API of {name}",
    )


def knows_relays() -> Condition[Status]:
    """The client knows where to send a first packet to any peer; a lost one is sent again after five seconds."""

    def why_not(status: Status) -> str | None:
        lacking = [peer.name for peer in status.peers if not peer.relay]
        return f"knows no relay of {lacking}" if lacking else None

    return Condition("knows every peer's relay", why_not)


def no_peer(name: str) -> Condition[Status]:
    """The client does not have this peer."""
    return Condition(f"does not see {name}", lambda s: f"sees {_names(s)}" if s.peer(name) else None)


def direct_to(name: str) -> Condition[Status]:
    """Packets to the peer take a direct path."""
    return _peer(
        f"has a direct path to {name}",
        name,
        lambda p: None if p.current_address else f"{name} is reached through DERP {p.relay!r}",
    )


def relayed_to(name: str) -> Condition[Status]:
    """Packets to the peer go through its home DERP."""
    return _peer(
        f"reaches {name} through DERP",
        name,
        lambda p: f"{name} is reached directly at {p.current_address}" if p.current_address else None,
    )


def _node(name: str, peer: str | None, why_not: Callable[[Node], str | None]) -> Condition[Status]:
    """Of the client itself, or of a peer."""
    if peer is not None:
        return _peer(f"sees that {peer} {name}", peer, why_not)
    return Condition(name, lambda s: why_not(s.self_node) if s.self_node else "it is no node yet")


def _peer(name: str, peer: str, why_not: Callable[[Node], str | None]) -> Condition[Status]:
    def reason(s: Status) -> str | None:
        found = s.peer(peer)
        return why_not(found) if found else f"{peer} is not among {_names(s)}"

    return Condition(name, reason)


def _names(s: Status) -> list[str]:
    return sorted(p.name for p in s.peers)


def _health(s: Status) -> str:
    return f"; health: {'; '.join(s.health)}" if s.health else ""
