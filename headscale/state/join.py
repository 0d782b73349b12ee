"""Joining with a pre-auth key.

The machine's own earlier node is looked for first (of the same owner, or on either side a tagged one), so that a
machine keeps its number, name and addresses through logout, key rotation and new keys, and becomes a second node only
for another user:

| that machine's node | with the same node key, same owner, not ended | otherwise, or none |
|---|---|---|
| the auth key | may be used, expired or deleted | must be valid; a single-use one is spent |
| the node's expiry | stays | set anew |

A spent key is good for a few minutes more for the machine that spent it, in case the answer was lost.

(Containers send their key at each start, and clients do at `tailscale up`, so the middle column must not ask for a
fresh one, nor for one that is still there: who is in does not need it.)
"""

from headscale.errors import Conflict, Refused
from headscale.keys import MachineKey
from headscale.records import Node, PreAuthKey, RegisterMethod
from headscale.state.admission import Expired, Outcome, Registered, Request, Terms, admit, renew, stored
from headscale.state.credentials import check_valid, claim, is_same_use, recognise
from headscale.state.effect import Effect, Moment
from headscale.state.report import described
from headscale.state.snapshot import Snapshot
from headscale.state.tags import check_key_gives


def join(snapshot: Snapshot, moment: Moment, request: Request) -> Effect[Outcome]:
    """Decide a registration that carries a key; raises Refused or Conflict with a text for the user."""
    try:
        key = recognise(snapshot, request.auth_key)
    except Refused:
        known = snapshot.node_of(request.node_key, request.machine_key)
        if known is None or known.expired:
            raise
        return Effect(snapshot, Registered(known))
    check_key_gives(key, request.hostinfo.request_tags)
    node = _earlier_node(snapshot, request.machine_key, key)
    if node is not None and _is_same_again(node, request, key):
        return stored(snapshot, node, described(snapshot, node, request.hostinfo))
    check_valid(key, moment.now, is_same_use=is_same_use(key, node, moment.now))
    if node is None and request.node_key in snapshot.node_by_key:
        # Another user's node of this machine has the key: the client makes a new one and comes back with it.
        return Effect(snapshot, Expired())
    claimed, spent = claim(snapshot, key, moment.now)
    terms = Terms(
        user_id=None if key.tags else key.user_id,
        tags=_tags(node, key),
        method=RegisterMethod.AUTH_KEY,
        ephemeral=key.ephemeral or request.ephemeral,
        authorized=key.preauthorized or not snapshot.needs_approval,
        auth_key_id=key.id,
    )
    if node is None:
        return admit(claimed, moment, request, terms, spent=spent)
    return renew(claimed, moment, node, request, terms, spent=spent)


def _tags(node: Node | None, key: PreAuthKey) -> tuple[str, ...]:
    """The key's tags; the key with which the node came before says nothing new, and an administrator may have."""
    if node is not None and node.tags and key.tags and node.auth_key_id == key.id:
        return node.tags
    return key.tags


def _earlier_node(snapshot: Snapshot, machine_key: MachineKey, key: PreAuthKey) -> Node | None:
    """The machine's node that this key renews: of the same owner, else one that changes sides with it."""
    nodes = snapshot.nodes_on(machine_key)
    tagged = [node for node in nodes if node.tags]
    if not key.tags:
        own = [node for node in nodes if node.user_id == key.user_id and not node.tags]
        return next(iter(own or tagged), None)
    if tagged:
        return tagged[0]
    if len(nodes) > 1:
        raise Conflict(
            "this machine has nodes of several users, and a tagged key would have to take one of them over: "
            "delete those that are not needed"
        )
    return next(iter(nodes), None)


def _is_same_again(node: Node, request: Request, key: PreAuthKey) -> bool:
    same_owner = bool(node.tags) == bool(key.tags)
    return node.node_key == request.node_key and not node.expired and same_owner
