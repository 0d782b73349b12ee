"""Logging in: someone vouches for a machine that asked without a key.

Which node it becomes, looked for among all nodes of the machine:

| the machine has | no tags asked for | tags asked for |
|---|---|---|
| a node of this user | that one, renewed | the tagged one if there is one, else that one, which becomes tagged |
| a tagged node and none of this user | that one, which becomes the user's | that one, with the tags asked for |
| only nodes of other users, or none | a new one | a new one |

Another user's node is never taken over; it stays with its owner. Tags are checked against the person who logs in.
"""

from headscale.errors import Conflict, NotFound, Refused
from headscale.records import Node, RegisterMethod
from headscale.state.admission import Outcome, Request, Terms, admit, renew
from headscale.state.effect import Effect, Moment
from headscale.state.snapshot import Snapshot
from headscale.state.tags import tags_for_login


def log_in(
    snapshot: Snapshot,
    moment: Moment,
    *,
    request: Request,
    user_id: int,
    method: RegisterMethod,
    vouched: bool,
) -> Effect[Outcome]:
    """The machine of this request is the user's, or its tags' if it asked for some.

    `vouched`: an administrator did it by hand, so that no approval is needed. Always ends in Registered; raises
    Refused, Conflict or NotFound with a text for whoever vouches.
    """
    if user_id not in snapshot.users:
        raise NotFound(f"no user has the id {user_id}")
    asked = request.hostinfo.request_tags
    node = _earlier_node(snapshot, request, user_id, asks_tags=bool(asked))
    _check_key(snapshot, request, node)
    tags = tags_for_login(snapshot, user_id=user_id, node=node, asked=asked)
    terms = Terms(
        user_id=None if tags else user_id,
        tags=tags,
        method=method,
        ephemeral=request.ephemeral,
        authorized=vouched or not snapshot.needs_approval,
    )
    if node is None:
        return admit(snapshot, moment, request, terms)
    return renew(snapshot, moment, node, request, terms)


def _earlier_node(snapshot: Snapshot, request: Request, user_id: int, *, asks_tags: bool) -> Node | None:
    nodes = snapshot.nodes_on(request.machine_key)
    own = [node for node in nodes if node.user_id == user_id]
    tagged = [node for node in nodes if node.tags]
    return next(iter(tagged + own if asks_tags else own + tagged), None)


def _check_key(snapshot: Snapshot, request: Request, node: Node | None) -> None:
    """The node key may have been taken since the client asked for its login."""
    holder_id = snapshot.node_by_key.get(request.node_key)
    if holder_id is None or (node is not None and holder_id == node.id):
        return
    if snapshot.nodes[holder_id].machine_key != request.machine_key:
        raise Refused("node key already in use by another machine")
    raise Conflict(
        f"this machine is logged in with the same key as node {holder_id} meanwhile: log in again with "
        "`tailscale up --force-reauth`"
    )
