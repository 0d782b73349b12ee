"""Administrators' acts in the history."""

from datetime import timedelta
from typing import Any, cast

import pytest

from harness.history import History, Source
from harness.servers.base import AdminRefused, AuthKey, ControlServer
from harness.servers.observed import ACTS, observe

HOUR = timedelta(hours=1)


class Server:
    """Has some of the verbs."""

    name = "peer"

    async def create_key(
        self, user_id: str, *, reusable: bool = False, lifetime: timedelta = HOUR
    ) -> AuthKey:
        return AuthKey("7", "the secret itself")

    async def nodes(self) -> list[Any]:
        return []

    async def set_policy(self, text: str) -> None:
        raise AdminRefused("line 1: no such group")

    async def stop(self) -> None: ...


async def test_acts_are_told_with_their_arguments_and_outcome() -> None:
    """Reads are not; a key's text never is."""
    server, history = Server(), History()
    observe(cast(ControlServer, server), history)
    assert await server.create_key("1", reusable=True) == AuthKey("7", "the secret itself")
    await server.nodes()
    await server.stop()
    told = [(entry.source, entry.who, entry.event, entry.fields) for entry in history.entries]
    assert told == [
        (Source.ADMIN, "peer", "create key", {"user_id": "1", "reusable": True, "lifetime": HOUR}),
        (Source.ADMIN, "peer", "create key: done", {"result": "7"}),
        (Source.SERVER, "peer", "stop", {}),
        (Source.SERVER, "peer", "stop: done", {}),
    ]


async def test_a_refusal_is_told_and_raised() -> None:
    """The scenario hears what it would have heard."""
    server, history = Server(), History()
    observe(cast(ControlServer, server), history)
    with pytest.raises(AdminRefused, match="no such group"):
        await server.set_policy("{}")
    assert [entry.event for entry in history.entries] == ["set policy", "set policy: refused"]


def test_every_act_of_an_administrator_is_among_them() -> None:
    """A verb that is added is told without being named here."""
    assert {"create_user", "approve_routes", "expire_node", "set_policy"} <= set(ACTS)
    assert not {"nodes", "users"} & set(ACTS)
