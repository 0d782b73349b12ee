"""Who becomes which node: every way through POST /machine/register, as one pure step.

In order (shared facts: the client never looks further than the first that applies):

| # | the request | outcome |
|---|---|---|
| 1 | names a node key that another machine holds | Refused, whatever else it carries; the holder is untouched |
| 2 | `Expiry` in the past: logout | ephemeral node deleted, other node expired now; unknown node: nothing |
| 3 | insists on another tailnet than ours | Refused |
| 4 | an auth key | `join` |
| 5 | a known node whose key has ended | Expired: the client makes a new node key |
| 6 | a known node | as it is; a future `Expiry` may shorten its time, never extend it |
| 7 | anyone else | LoginNeeded: `login`, once someone has vouched |
"""

from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from headscale.errors import Refused
from headscale.records import Delete, Node, Update
from headscale.state.admission import Expired, LoginNeeded, Outcome, Registered, Request
from headscale.state.effect import Effect, Moment
from headscale.state.join import join
from headscale.state.snapshot import Snapshot, drop_node, put_node
from headscale.state.tags import check_defined

# How a client says that it joins no other tailnet than the one it names (tailcfg.RegisterRequest.Tailnet).
REQUIRED: Final = "required:"


def register(snapshot: Snapshot, moment: Moment, *, request: Request) -> Effect[Outcome]:
    """Decide a registration; raises Refused or Conflict with a text for the user."""
    holder_id = snapshot.node_by_key.get(request.node_key)
    node = snapshot.node_of(request.node_key, request.machine_key)
    if holder_id is not None and node is None:
        raise Refused("node key already in use by another machine")
    if request.expiry is not None and request.expiry <= moment.now:
        return _logout(snapshot, moment, node)
    _check_tailnet(snapshot, request.tailnet)
    if request.auth_key:
        return join(snapshot, moment, request)
    if node is None:
        check_defined(snapshot, request.hostinfo.request_tags)
        return Effect(snapshot, LoginNeeded())
    if node.expired:
        return Effect(snapshot, Expired())
    return _refresh(snapshot, node, request)


def _check_tailnet(snapshot: Snapshot, wanted: str) -> None:
    """A wish without `required:` is one that we may leave unfulfilled."""
    if not wanted.startswith(REQUIRED):
        return
    settings = snapshot.settings
    names = {settings.dns.base_domain, urlsplit(settings.server_url).hostname} - {"", None}
    if wanted.removeprefix(REQUIRED) not in names:
        raise Refused(f"the client insists on another tailnet than {' or '.join(sorted(map(str, names)))}")


def _logout(snapshot: Snapshot, moment: Moment, node: Node | None) -> Effect[Outcome]:
    """Now, not the client's sentinel in 1970, so that no peer ever sees a key that ended before it began."""
    if node is None:
        return Effect(snapshot, Expired())
    touched = frozenset({node.id})
    if node.ephemeral:
        return Effect(drop_node(snapshot, node, moment.now), Expired(), (Delete(node),), touched)
    if node.expired:
        return Effect(snapshot, Expired())
    ended = replace(node, expiry=moment.now, expired=True)
    return Effect(put_node(snapshot, ended), Expired(), (Update(ended),), touched)


def _refresh(snapshot: Snapshot, node: Node, request: Request) -> Effect[Outcome]:
    """A restarted client: nothing changes, unless it asks for less time than it has."""
    if request.expiry is None:
        return Effect(snapshot, Registered(node))
    if node.expiry is not None and request.expiry > node.expiry:
        raise Refused("a node cannot extend its own key: log in again to renew it")
    sooner = replace(node, expiry=request.expiry)
    return Effect(put_node(snapshot, sooner), Registered(sooner), (Update(sooner),), frozenset({node.id}))
