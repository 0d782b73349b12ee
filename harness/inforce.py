"""When a policy is in force: every connected client goes by it, as far as clients tell.

A client that shows its netmap goes by a policy when its packet filter gives the policy's verdicts. One that does not
is known by its peers alone: rules that leave those as they are cannot be seen there, which the history tells; a
matrix waits for them all the same, packet by packet.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from harness.clients.base import Ability, Client
from harness.conditions import sees_exactly
from harness.errors import NotAnswering, NotReached
from harness.expected import World, look
from harness.filters import Filter, goes_by
from harness.history import History
from harness.oracle import Policy
from harness.servers.base import ControlServer
from harness.wait import Budget, until


async def until_in_force(
    policy: Policy, server: ControlServer, clients: Iterable[Client], history: History
) -> None:
    """Wait until every client that the server lists as online goes by the policy.

    Raises NotReached, with what each of those that do not still has.
    """
    world = await look(server)
    online = await _online(server, clients)
    try:
        waits = [await _wait_for(policy, world, client) for client in online]
    except ValueError as problem:  # a policy beyond the oracle: what clients should show is not known
        history.record("policy not predicted", reason=str(problem))
        return
    outcomes = await asyncio.gather(*(wait() for wait in waits), return_exceptions=True)
    late = [str(outcome) for outcome in outcomes if isinstance(outcome, NotReached)]
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, NotReached):
            raise outcome
    if late:
        count = f"{len(late)} of {len(online)} clients do not go by the policy:"
        raise NotReached("\n".join([count, *late]))
    unseen = [client.name for client in online if Ability.NETMAP not in client.abilities]
    shown = [client.name for client in online if client.name not in unseen]
    history.record("policy in force", shown_by=", ".join(shown), peers_only=", ".join(unseen))


async def _wait_for(policy: Policy, world: World, client: Client) -> Callable[[], Awaitable[object]]:
    """What to wait for at this client. Raises ValueError when the oracle does not understand the policy."""
    node = world.node_of(client)
    if Ability.NETMAP in client.abilities:
        shown = await asyncio.to_thread(goes_by, policy, world, node)
        return partial(until, Filter(client), shown, Budget.POLICY)
    return partial(client.until, sees_exactly(world.peers_of(policy, node)), Budget.POLICY)


async def _online(server: ControlServer, clients: Iterable[Client]) -> Sequence[Client]:
    listed = {address for node in await server.nodes() if node.online for address in node.addresses}
    found = []
    for client in clients:
        try:
            status = await client.read()
        except NotAnswering:
            continue
        if listed & set(map(str, status.addresses)):
            found.append(client)
    return found
