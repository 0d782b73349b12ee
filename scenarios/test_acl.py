"""Policies, one after the other over the same machines: who reaches whom is what the plain reading says.

Each test sets a policy and measures all of it with packets: every service over TCP and UDP, and ICMP, over IPv4 and
IPv6, between all pairs of machines, of which some run the oldest release and some the newest. What is denied is shown
alive by opening everything afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from harness.clients.base import Ability, Client
from harness.policies import ALLOW_ALL, NOBODY, acl, grant, policy
from harness.services import Service
from harness.tailnet import Tailnet, gather

EVERYBODY = "autogroup:member"
TAGGED = "autogroup:tagged"
SELF = "autogroup:self"


@dataclass(frozen=True, slots=True)
class Office:
    """Two machines of Alice's and of Bob's, two tagged servers, and what all of them offer."""

    tailnet: Tailnet
    web: Service
    db: Service
    log: Service
    server: Client
    """Tagged `tag:web`."""
    store: Client
    """Tagged `tag:db`."""


@pytest_asyncio.fixture(loop_scope="session")
async def office(lasting_tailnet: Tailnet) -> Office:
    """The office, with everything allowed."""
    tailnet = lasting_tailnet
    if not tailnet.clients:
        await _open(tailnet)
    await tailnet.set_policy(ALLOW_ALL)
    clients = {client.name: client for client in tailnet.clients}
    web, db, log = tailnet.services
    return Office(tailnet, web, db, log, server=clients["server"], store=clients["store"])


async def _open(tailnet: Tailnet) -> None:
    """Alice and both servers have the oldest and the newest of the selected releases, Bob what is between."""
    releases = tailnet.able(Ability.FILTER)
    oldest, middle, newest = releases[0], releases[len(releases) // 2], releases[-1]
    rust = next((release for release in tailnet.releases if release.kind == "rust"), newest)
    await tailnet.serve("web", "db", "log")
    await gather(
        tailnet.join("alice", oldest, name="alice-1"),
        tailnet.join("alice", newest, name="alice-2"),
        tailnet.join("bob", middle, name="bob-1"),
        tailnet.join("bob", rust, name="bob-2"),
        tailnet.join("alice", newest, name="server", tags=["tag:web"]),
        tailnet.join("alice", oldest, name="store", tags=["tag:db"]),
    )


def no_rules(office: Office) -> str:
    """A policy without any section of rules."""
    return '{ "groups": { "group:all": ["alice@"] } }'


def nobody(office: Office) -> str:
    """A policy whose sections of rules are empty."""
    return NOBODY


def one_way(office: Office) -> str:
    """A user reaches another, who does not reach back."""
    return policy(acl("alice@", "bob@:*"))


def groups(office: Office) -> str:
    """Groups, one of them with a user who does not exist."""
    return policy(
        acl("group:eng", f"tag:web:{office.web}", f"tag:db:{office.db}"),
        acl("group:ops", "tag:db:*"),
        groups={"group:eng": ["alice@", "nobody-knows-me@"], "group:ops": ["bob@"]},
    )


def tags(office: Office) -> str:
    """Servers reach each other one way, and their user reaches one of them."""
    return policy(acl("tag:web", f"tag:db:{office.db}"), acl("alice@", f"tag:web:{office.web}"))


def members_and_tagged(office: Office) -> str:
    """People among themselves, servers among themselves."""
    return policy(
        acl(EVERYBODY, f"{EVERYBODY}:{office.web}"), acl(TAGGED, f"{TAGGED}:{office.log}", proto="udp")
    )


def own_machines(office: Office) -> str:
    """Everybody reaches what is theirs; servers are nobody's."""
    return policy(acl(EVERYBODY, f"{SELF}:*"), acl("tag:db", "tag:web:*"))


def ports(office: Office) -> str:
    """A list of ports, a range over two services, and every port."""
    web_to_db = f"{office.web.first}-{office.db.last}"
    return policy(
        acl("alice@", f"tag:web:{office.web},{office.log}"),
        acl("bob@", f"*:{web_to_db}"),
        acl("tag:web", "tag:db:*"),
    )


def protocols(office: Office) -> str:
    """One protocol each: TCP, UDP, ICMP. Who may reach anything may ping it."""
    return policy(
        acl("alice@", f"tag:web:{office.web},{office.db}", proto="tcp"),
        acl("bob@", "tag:web:*", proto="udp"),
        acl("bob@", "tag:db:*", proto="icmp"),
        acl("tag:web", "alice@:*", proto="ipv6-icmp"),
    )


def hosts(office: Office) -> str:
    """Names for addresses: of one family, of the other, of both, and a literal."""
    server, store = office.server, office.store
    return policy(
        acl("alice@", "server-4:*"),
        acl("bob@", f"server-6:{office.web}"),
        acl("tag:web", "store-4:*", "store-6:*"),
        acl(str(store.address(4)), f"alice@:{office.db}"),
        hosts={
            "server-4": f"{server.address(4)}/32",
            "server-6": f"{server.address(6)}/128",
            "store-4": str(store.address(4)),
            "store-6": str(store.address(6)),
        },
    )


def grants(office: Office) -> str:
    """The newer form: several protocols and ports in one rule, beside one of the older form."""
    return policy(
        grant("alice@", to="tag:web", ip=[f"tcp:{office.web}", f"udp:{office.db}"]),
        grant(TAGGED, to="bob@", ip="icmp:*"),
        grant("bob@", to=["tag:db", "alice@"], ip=[str(office.log)]),
        acl("tag:db", f"{EVERYBODY}:{office.web}"),
    )


POLICIES = [
    no_rules,
    nobody,
    one_way,
    groups,
    tags,
    members_and_tagged,
    own_machines,
    ports,
    protocols,
    hosts,
    grants,
]


@pytest.mark.parametrize("rules", POLICIES, ids=lambda rules: rules.__name__)
async def test_packets_pass_as_the_policy_says(office: Office, rules: Callable[[Office], str]) -> None:
    """Every packet that the policy allows is answered, no other one is, and everyone sees whom they should."""
    await office.tailnet.assert_policy(rules(office))
