"""Acts of people are looked at twice: when they ask, and when the writer decides, which may be after their role, or the
owner of the device, has changed."""

from typing import TypeVar

from headscale.errors import Refused
from headscale.state.effect import Effect, Moment, Step
from headscale.state.scopes import Grant, grant_of_person
from headscale.state.snapshot import Snapshot

T = TypeVar("T")


def present_grant(snapshot: Snapshot, person: int) -> Grant:
    """What the person may do in this snapshot; raises Refused for one who is gone."""
    user = snapshot.users.get(person)
    if user is None:
        raise Refused("the user whom this acts for is gone")
    return grant_of_person(user)


def permitted(
    step: Step[T], *, person: int | None, scopes: tuple[str, ...], node_id: int | None = None
) -> Step[T]:
    """The step, if the person may do it when it is decided; None may whatever was found when they asked.

    One of `scopes` is enough; `node_id` is a device for which it is enough to own it. The step raises Refused.
    """
    if person is None or not scopes:
        return step

    def act(snapshot: Snapshot, moment: Moment) -> Effect[T]:
        node = snapshot.nodes.get(node_id) if node_id is not None else None
        present_grant(snapshot, person).check(*scopes, node=node)
        return step(snapshot, moment)

    return act
