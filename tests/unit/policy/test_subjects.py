"""Nodes as the policy sees them."""

import pytest

from tests.unit.policy.small import ANN, device


@pytest.mark.parametrize(
    ("routes", "is_exit"),
    [((), False), (("10.0.0.0/8",), False), (("0.0.0.0/0",), True), (("10.0.0.0/8", "::/0"), True)],
)
def test_an_exit_node_routes_all_of_a_family(routes: tuple[str, ...], is_exit: bool) -> None:
    """Either family's default route makes a node an exit node; no other route does."""
    assert device(1, ANN, *routes).is_exit_node is is_exit
