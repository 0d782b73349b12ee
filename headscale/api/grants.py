"""What the sender of a request may do, as the door found it, and what the route asks for."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from headscale.api.bodies import id_of
from headscale.state.scopes import Grant
from headscale.state.snapshot import Snapshot

GRANT: Final = web.RequestKey("grant", Grant)


@dataclass(frozen=True, slots=True)
class Needed:
    """The scopes of which one is enough; for the owner of the node, owning it is."""

    scopes: tuple[str, ...]
    node_id: int | None = None


NEEDED: Final = web.RequestKey("needed", Needed)


def check_route(request: web.Request, snapshot: Snapshot, scopes: tuple[str, ...], *, is_own: bool) -> None:
    """Raises Refused unless the caller may ask this route.

    `is_own`: everybody may ask it of their own devices: of the one in the path, else of as many as a list shows.
    """
    grant = request[GRANT]
    has_id = "id" in request.match_info
    node_id = id_of(request.match_info["id"]) if is_own and has_id else None
    request[NEEDED] = Needed(scopes, node_id)
    if is_own and not has_id and grant.allows_own(*scopes):
        return
    grant.check(*scopes, node=snapshot.nodes.get(node_id) if node_id is not None else None)
