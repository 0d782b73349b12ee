"""When a policy is in force: which clients show it, which cannot, and which are late."""

import json
from typing import Any, cast

import pytest

from harness.clients.base import Ability, Client
from harness.errors import NotReached
from harness.history import History
from harness.inforce import until_in_force
from harness.policies import NOBODY, acl, policy
from harness.servers.base import ControlServer
from tests.unit.harness.members import Listing, client, node

EVERYTHING = {
    "IPProto": [6, 17, 1, 58],
    "Srcs": ["0.0.0.0/0", "::/0"],
    "Dsts": [
        {"Net": "0.0.0.0/0", "Ports": {"First": 0, "Last": 65535}},
        {"Net": "::/0", "Ports": {"First": 0, "Last": 65535}},
    ],
}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_TIME_SCALE", "0.01")


async def in_force(text: str, *clients: Client) -> History:
    """Wait with a server that lists a and b."""
    history = History()
    server = cast(ControlServer, Listing(node(1, "a", "1"), node(2, "b", "2")))
    await until_in_force(json.loads(text), server, clients, history)
    return history


def with_filter(made: Client, *rules: dict[str, Any]) -> Client:
    cast(Any, made).filter = list(rules)
    return made


async def test_it_is_in_force_when_every_filter_is_the_policys() -> None:
    """The history tells who showed it."""
    history = await in_force(NOBODY, client(1, "a"), client(2, "b"))
    assert history.entries[-1].fields == {"shown_by": "a, b", "peers_only": ""}


async def test_every_late_client_is_named_with_its_filter() -> None:
    """Not only the first: who has what is the finding."""
    open_ones = [with_filter(client(number, name), EVERYTHING) for number, name in ((1, "a"), (2, "b"))]
    with pytest.raises(
        NotReached, match=r"(?s)2 of 2 clients.*a: .*its filter is \[6,17.*b: .*its filter is"
    ):
        await in_force(NOBODY, *open_ones)


async def test_a_client_that_shows_no_filter_is_known_by_its_peers() -> None:
    """The history says that no more was seen; peers that should be there are waited for."""
    blind = client(2, "b", Ability.NETMAP)
    history = await in_force(NOBODY, blind)
    assert history.entries[-1].fields == {"shown_by": "", "peers_only": "b"}
    with pytest.raises(NotReached, match=r"sees exactly \['a'\]"):
        await in_force(policy(acl("alice@", "bob@:80")), blind)


async def test_a_policy_beyond_the_oracle_is_not_waited_for() -> None:
    """What clients should show is not known, and the history says so."""
    history = await in_force('{"acls": [], "somethingNew": 1}', with_filter(client(1, "a"), EVERYTHING))
    assert [entry.event for entry in history.entries] == ["policy not predicted"]


async def test_a_client_that_is_not_listed_as_online_is_not_waited_for() -> None:
    """It learns the policy when it comes back."""
    history = await in_force(NOBODY, with_filter(client(9, "gone"), EVERYTHING))
    assert history.entries[-1].fields == {"shown_by": "", "peers_only": ""}
