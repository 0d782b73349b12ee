"""The administrator's door by the `headscale` command, with a command that is played."""

import json
from collections.abc import Sequence

import pytest

from harness.backends.base import Completed
from harness.servers.base import AdminRefused, ServerUser
from harness.servers.command import CommandAdmin


class Command:
    """Answers with one output and remembers how it was called."""

    def __init__(self, code: int, output: str) -> None:
        self.code = code
        self.output = output
        self.args: Sequence[str] = ()
        self.stdin = ""

    async def __call__(self, args: Sequence[str], *, stdin: str = "") -> Completed:
        self.args, self.stdin = args, stdin
        return Completed(tuple(args), self.code, self.output, "", 0.0)


async def test_a_policy_goes_in_by_standard_input() -> None:
    """The server may be on a machine that has no file of ours."""
    command = Command(0, "")
    await CommandAdmin(command).set_policy('{"acls": []}')
    assert list(command.args[:4]) == ["policy", "set", "--file", "/dev/stdin"]
    assert command.stdin == '{"acls": []}'


async def test_a_refusal_has_the_commands_own_words() -> None:
    """That is what an administrator would read."""
    with pytest.raises(AdminRefused, match="line 3: group not found"):
        await CommandAdmin(Command(1, "line 3: group not found")).set_policy("{}")


async def test_users_are_listed_with_what_policies_may_call_them() -> None:
    """Name, e-mail address, the provider's identity; what they lack is empty."""
    listed = [{"id": 1, "name": "alice"}, {"id": "2", "name": "bob", "email": "b@x", "providerId": "p/2"}]
    users = await CommandAdmin(Command(0, json.dumps(listed))).users()
    assert users == [ServerUser("1", "alice", "", ""), ServerUser("2", "bob", "b@x", "p/2")]


async def test_routes_of_a_node_are_those_advertised_and_approved() -> None:
    """Neither a wish nor a permission alone is in force."""
    node = {
        "id": "1",
        "givenName": "a",
        "name": "a",
        "ipAddresses": [],
        "online": True,
        "nodeKey": "",
        "availableRoutes": ["10.0.0.0/8", "10.1.0.0/16"],
        "approvedRoutes": ["10.1.0.0/16", "10.2.0.0/16"],
        "user": {"id": "7", "name": "alice"},
    }
    (listed,) = await CommandAdmin(Command(0, json.dumps([node]))).nodes()
    assert (listed.routes, listed.user_id) == (("10.1.0.0/16",), "7")
