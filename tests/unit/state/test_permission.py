"""Acts of people: what holds when they are decided counts, not what held when they were asked for."""

from functools import partial

import pytest

from headscale.errors import NotFound, Refused
from headscale.records import Role
from headscale.state.apikeys import create_api_key
from headscale.state.nodes import delete_node
from headscale.state.permission import permitted
from headscale.state.roles import set_role
from headscale.state.scopes import DEVICES
from headscale.state.snapshot import Snapshot
from headscale.state.users import delete_user
from tests.builders import moment, node, secret, tailnet, with_nodes


def admins() -> Snapshot:
    """ann is the owner, bob an admin, eve a member; ann and eve have a device each (1, 3)."""
    snapshot = set_role(tailnet("ann", "bob", "eve"), moment(), user_id=2, role=Role.ADMIN).snapshot
    return with_nodes(snapshot, node(1), node(3, user_id=3))


def deleted(snapshot: Snapshot, node_id: int, *, person: int | None) -> Snapshot:
    """Somebody deletes a device, as the API has it done."""
    step = permitted(partial(delete_node, node_id=node_id), person=person, scopes=(DEVICES,), node_id=node_id)
    return step(snapshot, moment()).snapshot


def test_whoever_may_may() -> None:
    assert 1 not in deleted(admins(), 1, person=2).nodes
    assert 3 not in deleted(admins(), 3, person=3).nodes
    assert 1 not in deleted(admins(), 1, person=None).nodes


def test_a_role_that_was_taken_meanwhile_counts_no_more() -> None:
    demoted = set_role(admins(), moment(), user_id=2, role=Role.AUDITOR).snapshot
    with pytest.raises(Refused, match="the role auditor lacks"):
        deleted(demoted, 1, person=2)


def test_a_device_that_is_somebody_elses_by_now_is_not_theirs() -> None:
    with pytest.raises(Refused, match="the role member lacks"):
        deleted(with_nodes(admins(), node(3, user_id=1)), 3, person=3)
    with pytest.raises(Refused):
        deleted(admins(), 77, person=3)
    with pytest.raises(NotFound):
        deleted(admins(), 77, person=2)


def test_who_is_gone_may_nothing() -> None:
    gone = delete_user(admins(), moment(), user_id=2).snapshot
    with pytest.raises(Refused, match="gone"):
        deleted(gone, 1, person=2)


def test_keys_go_with_their_person() -> None:
    snapshot = admins()
    for number, user_id in ((1, 2), (2, None), (3, 1)):
        key = secret(number)
        snapshot = create_api_key(snapshot, moment(), secret=key, expiration=None, user_id=user_id).snapshot
    left = delete_user(snapshot, moment(), user_id=2).snapshot
    assert [key.user_id for key in left.api_keys.values()] == [None, 1]
