"""Who won which route, as it is kept: a restart of the server moves no route that several routers have.

Kept as texts, `10.1.0.0/16 5` for a primary and `10.1.0.0/16 5 tag:web` for a favourite.
"""

from collections.abc import Iterable
from dataclasses import replace

from headscale.policy.subjects import Network
from headscale.records import Elections, Update, Write
from headscale.state.routes import Favourite, Standing, network_of
from headscale.state.snapshot import Snapshot


def election_writes(before: Snapshot, after: Snapshot) -> tuple[Write, ...]:
    """What has to be kept of the change from one snapshot to the next; mostly nothing."""
    same = before.primaries is after.primaries and before.routers is after.routers
    if same and before.favourites is after.favourites:
        return ()
    held = _held(after)
    return (Update(Elections(held=held)),) if held != _held(before) else ()


def with_elections(snapshot: Snapshot, held: Iterable[str]) -> Snapshot:
    """The snapshot in which these won before; what is no election any more is left out when the next is held."""
    primaries, favourites = snapshot.primaries, snapshot.favourites
    for text in held:
        words = text.split(" ")
        route = network_of(words[0])
        if route is None or len(words) not in (2, 3) or not words[1].isdecimal():
            continue
        if len(words) == 2:
            primaries = primaries.set(route, int(words[1]))
        else:
            favourites = favourites.set((route, words[2]), Favourite(Standing.AWAY, 0, int(words[1])))
    return replace(snapshot, primaries=primaries, favourites=favourites)


def _held(snapshot: Snapshot) -> tuple[str, ...]:
    """Of routes with one router there is nothing to keep."""
    several = [route for route, routers in snapshot.routers.items() if len(routers) > 1]
    primaries = (f"{route} {snapshot.primaries[route]}" for route in several if route in snapshot.primaries)
    return tuple(sorted((*primaries, *_favoured(snapshot, frozenset(several)))))


def _favoured(snapshot: Snapshot, several: frozenset[Network]) -> Iterable[str]:
    for (route, tag), favourite in snapshot.favourites.items():
        if route in several:
            yield f"{route} {favourite.node_id} {tag}"
