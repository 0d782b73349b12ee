"""What people decide in the console: each act is theirs in the audit log, and allowed when it is written."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from headscale.errors import Malformed
from headscale.login.pending import PendingLogin, PendingLogins
from headscale.records import Node, RegisterMethod, User
from headscale.state.acts import audited
from headscale.state.admission import Registered
from headscale.state.audit import note
from headscale.state.effect import Effect, Moment, Step
from headscale.state.login import log_in
from headscale.state.nodes import delete_node, expire_node
from headscale.state.permission import permitted, present_grant
from headscale.state.preferences import authorize_node
from headscale.state.scopes import DEVICES
from headscale.state.snapshot import Snapshot
from headscale.state.writer import Writer

REJECTED: Final = "an administrator turned this login away"


def _log_out(snapshot: Snapshot, moment: Moment, *, node_id: int) -> Effect[Node]:
    return expire_node(snapshot, moment, node_id=node_id, expiry=moment.now)


# Each act on a device: how the audit log calls it, its step, whether owning the device is enough, what to say then.
DeviceStep = Callable[..., Effect[Node]]
ACTS: Final[dict[str, tuple[str, DeviceStep, bool, str]]] = {
    "logout": ("node.expire", _log_out, True, "The device is logged out"),
    "remove": ("node.delete", delete_node, True, "The device is removed"),
    "approve": ("node.authorize", authorize_node, False, "The device is approved"),
}


async def act_on_device(writer: Writer, user: User, act: str, node_id: int) -> None:
    """Raises Refused or NotFound."""
    action, step, is_for_owners, _ = ACTS[act]
    await _apply(writer, user, action, partial(step, node_id=node_id), node_id if is_for_owners else None)


async def let_in(writer: Writer, logins: PendingLogins, user: User, login: PendingLogin, owner: User) -> None:
    """The device that waits becomes the owner's. Raises Refused, NotFound or Conflict."""
    # A browser that hangs up in the middle must not leave a device waiting that is in.
    await asyncio.shield(_let_in(writer, logins, user, login, owner))


async def turn_away(writer: Writer, logins: PendingLogins, user: User, login: PendingLogin) -> None:
    """The device's user reads so. Raises Refused."""
    present_grant(writer.snapshot, user.id).check(DEVICES)
    logins.reject(login, REJECTED)
    details = f"device {login.request.hostinfo.hostname[:80]}"
    await writer.apply(partial(note, actor=actor_of(user), action="login.reject", details=details))


def user_called(snapshot: Snapshot, text: str) -> User:
    """The one user of this name or e-mail address, else of this ID; raises Malformed."""
    found = [user for user in snapshot.users.values() if text and text in (user.name, user.email)]
    found = found or [user for user in snapshot.users.values() if text == str(user.id)]
    if len(found) != 1:
        raise Malformed(
            f"{len(found)} users are called {text[:80]!r}: give the name, e-mail address or ID of one"
        )
    return found[0]


def actor_of(user: User) -> str:
    """Who did it, in the words of the audit log."""
    return f"person {user.login}"


async def _let_in(
    writer: Writer, logins: PendingLogins, user: User, login: PendingLogin, owner: User
) -> None:
    step = partial(log_in, request=login.request, user_id=owner.id, method=RegisterMethod.CLI, vouched=True)
    outcome = await _apply(writer, user, "login.register", step, None)
    assert isinstance(outcome, Registered)
    logins.approve(login)


async def _apply(writer: Writer, user: User, action: str, step: Step[object], node_id: int | None) -> object:
    allowed = permitted(step, person=user.id, scopes=(DEVICES,), node_id=node_id)
    return await writer.apply(audited(allowed, actor=actor_of(user), action=action))
