"""The oracle for paths, against the table that books about NAT have."""

import pytest

from harness.lab.nat import BY_ADDRESS, BY_PORT, INDEPENDENT, Behaviour, Nat, in_a_row, predict

NONE, FULL, RESTRICTED, PORT, SYMMETRIC = Nat

RELAYED = {frozenset((PORT, SYMMETRIC)), frozenset((SYMMETRIC,))}
"""All other pairs go directly (Ford, Srisuresh and Kegel, Peer-to-Peer Communication Across NATs, 2005)."""


@pytest.mark.parametrize("one", Nat, ids=str)
@pytest.mark.parametrize("other", Nat, ids=str)
def test_pairs_of_kinds_find_a_direct_path_or_do_not(one: Nat, other: Nat) -> None:
    """A port that STUN did not see is fatal where the other side lets in only ports that it sent to."""
    path = predict(one.behaviour, other.behaviour)
    assert path.direct == (frozenset((one, other)) not in RELAYED)
    assert path.reason
    assert path.direct == predict(other.behaviour, one.behaviour).direct


def test_the_path_is_named_as_the_client_names_it() -> None:
    """For tables."""
    assert str(predict(FULL.behaviour, FULL.behaviour)) == "direct"
    assert str(predict(SYMMETRIC.behaviour, SYMMETRIC.behaviour)) == "relayed"


@pytest.mark.parametrize(
    ("routers", "mapping", "filtering"),
    [
        ([], INDEPENDENT, INDEPENDENT),
        ([FULL, RESTRICTED], INDEPENDENT, BY_ADDRESS),
        ([PORT, FULL], INDEPENDENT, BY_PORT),
        ([NONE, SYMMETRIC, FULL], BY_PORT, BY_PORT),
    ],
)
def test_routers_in_a_row_are_as_strict_as_the_strictest(
    routers: list[Nat], mapping: str, filtering: str
) -> None:
    """In mapping and in filtering, each by itself."""
    assert in_a_row(routers) == Behaviour(mapping, filtering)
