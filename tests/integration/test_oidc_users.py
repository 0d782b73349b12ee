"""People who log in at an identity provider beside users whom an administrator made: the whole table afterwards."""

from dataclasses import dataclass

import pytest

from tests.integration.people import Place, logged_in, place

THERE = [("alice", "", ""), ("bob", "", "")]
"""Whom every server of these tests begins with."""


@dataclass(frozen=True)
class Case:
    """Users who are there, with their addresses, and whether the provider verified those of the people who come."""

    local: dict[str, str]
    verified: bool


CASES = {
    "the same names, verified": Case({"carol": "carol@test.example", "dave": "dave@test.example"}, True),
    "the same names, not verified": Case({"carol": "carol@test.example", "dave": "dave@test.example"}, False),
    "names with a domain, not verified": Case(
        {"carol.example.com": "carol.example.com@test.example", "dave.example.com": ""}, False
    ),
    "the same names and addresses, verified": Case(
        {"carol": "carol@example.com", "dave": "dave@example.com"}, True
    ),
}


async def table(here: Place) -> list[tuple[str, str, str]]:
    """Name, address and identity at the provider of all users, as administrators see them."""
    listed = await here.tailnet.server.users()
    assert [int(user.id) for user in listed] == list(range(1, len(listed) + 1))
    return [(user.name, user.email, user.provider_id) for user in listed]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_people_are_users_of_their_own(case: Case) -> None:
    """Nobody becomes a user who is there, whatever name or address they share; and each comes once."""
    async with place() as here:
        for name, email in case.local.items():
            await here.tailnet.server.call("POST", "user", {"name": name, "email": email})
        people = []
        for name in ("carol", "dave"):
            here.idp.knows(
                f"sub-{name}",
                email=f"{name}@example.com",
                email_verified=case.verified,
                preferred_username=name,
            )
            await logged_in(here, f"{name}-1")
            people.append(
                (name, f"{name}@example.com" if case.verified else "", f"{here.idp.url}/sub-{name}")
            )
        expected = [*THERE, *((name, email, "") for name, email in case.local.items()), *people]
        assert await table(here) == expected
        here.idp.person = "sub-carol"
        again = await logged_in(here, "carol-2")
        assert await table(here) == expected
        owner = here.tailnet.node_of(again).user_id
        assert owner == len(expected) - 1
        assert len(here.tailnet.server.app.writer.snapshot.nodes_owned_by(owner)) == 2
