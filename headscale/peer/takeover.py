"""From the peer's rows to records of ours, under the peer's ids and without a look at what is here already."""

from dataclasses import dataclass
from datetime import datetime

from headscale.peer.credentials import take_api_keys, take_pre_auth_keys
from headscale.peer.nodes import Surroundings, take_node
from headscale.peer.people import People, take_users
from headscale.peer.policies import permitted_requests, take_policy
from headscale.peer.report import Ledger
from headscale.peer.routes import enabled_routes
from headscale.peer.rows import NODES, OAUTH_CLIENTS, OAUTH_TOKENS, PeerDatabase, Row
from headscale.peer.unique import Taken, told_apart
from headscale.records import ApiKey, Node, PolicyText, PreAuthKey


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that may come in, each record with the row that it came from."""

    people: People
    pre_auth_keys: tuple[tuple[Row, PreAuthKey], ...]
    api_keys: tuple[tuple[Row, ApiKey], ...]
    nodes: tuple[Taken, ...]
    policy: tuple[Row, PolicyText] | None


def take_over(
    database: PeerDatabase, ledger: Ledger, now: datetime, *, policy_file: str | None = None
) -> Found:
    """Read all rows; what cannot come in has its fate in the ledger afterwards, what can has none yet.

    `policy_file` is the text of the policy where the peer kept it in a file.
    """
    people = take_users(database, ledger, now)
    keys = take_pre_auth_keys(database, people, ledger, now)
    api_keys = take_api_keys(database, ledger, now)
    policy = take_policy(database, ledger, now)
    text = policy[1].text if policy is not None else policy_file
    permitted, untold = permitted_requests(database, (user for _, user in people.users), text)
    around = Surroundings(people, {key.id: key for _, key in keys}, enabled_routes(database), permitted, now)
    taken = []
    for row in database.rows(NODES):
        node = take_node(row, around, ledger)
        if node is None:
            continue
        if untold and node.hostinfo.request_tags and not node.tags:
            ledger.noted(
                row, f"it asks for tags, and who may give them cannot be told ({untold}): it has none"
            )
        taken.append(Taken(row, node, _lost(row, node)))
    nodes = told_apart(taken, ledger)
    for table in (OAUTH_CLIENTS, OAUTH_TOKENS):
        for row in database.rows(table):
            ledger.left_out(row, "there are no OAuth clients in this version: make an API key instead")
    return Found(people, keys, api_keys, tuple(nodes), policy)


def _lost(row: Row, node: Node) -> frozenset[int]:
    """The families of which the row names an address that cannot be one; all of them for a node without any."""
    named = {4: (row.get("ipv4"), node.ipv4), 6: (row.get("ipv6"), node.ipv6)}
    if not node.addresses:
        return frozenset(named)
    return frozenset(family for family, (cell, address) in named.items() if cell and address is None)
