"""/tailnet/{tailnet}/users and /users/{id}"""

from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec

from headscale import records
from headscale.api.v2.endpoints import Call, Endpoint, not_served
from headscale.state.roles import check_may_give, role_named, set_role
from headscale.state.scopes import USERS, read
from headscale.state.snapshot import Snapshot
from headscale.state.users import delete_user, find_user

TAILNET_ID: Final = "1"
MEMBER: Final = "member"
ACTIVE: Final = "active"
# Of a parameter that asks for nothing in particular.
_ANY: Final = (None, "", "all")


class User(msgspec.Struct, frozen=True, rename="camel"):
    """A user. Everybody is active, and of type member; `last_seen` is of its devices, and else when it was created."""

    id: str
    display_name: str
    login_name: str
    profile_pic_url: str
    tailnet_id: str
    created: datetime
    type: str
    role: str
    status: str
    device_count: int
    last_seen: datetime
    currently_connected: bool


class Users(msgspec.Struct, frozen=True):
    """Several users."""

    users: tuple[User, ...]


def user_object(snapshot: Snapshot, user: records.User) -> User:
    """The user as REST v2 shows it."""
    nodes = snapshot.nodes_owned_by(user.id)
    online = any(node.online for node in nodes)
    return User(
        id=str(user.id),
        display_name=user.display_name or user.name or user.login,
        login_name=user.login,
        profile_pic_url=user.profile_pic_url,
        tailnet_id=TAILNET_ID,
        created=user.created_at,
        type=MEMBER,
        role=user.role.value,
        status=ACTIVE,
        device_count=len(nodes),
        last_seen=max((node.last_seen for node in nodes if node.last_seen), default=user.created_at),
        currently_connected=online,
    )


class NewRole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The role to give."""

    role: str


async def list_users(call: Call[None]) -> Users:
    """All by id, or those with ?role; of ?type there are only members."""
    snapshot, query = call.snapshot, call.request.query
    if query.get("type") not in (*_ANY, MEMBER):
        return Users(())
    users = sorted(snapshot.users.values(), key=lambda user: user.id)
    if (role := query.get("role")) not in _ANY:
        users = [user for user in users if user.role == role]
    return Users(tuple(user_object(snapshot, user) for user in users))


async def get_user(call: Call[None]) -> User:
    """One of them."""
    return user_object(call.snapshot, find_user(call.snapshot, call.id("user")))


async def delete(call: Call[None]) -> None:
    """Forget a user without devices."""
    await call.apply("user.delete", partial(delete_user, user_id=call.id("user")))


async def give_role(call: Call[NewRole]) -> None:
    """Another role; a new owner takes over from the one of before."""
    role = role_named(call.body.role)
    check_may_give(call.grant, role)
    step = partial(set_role, user_id=call.id("user"), role=role, by=call.grant.person)
    await call.apply("user.role", step)


_NO_STATUS: Final = not_served("users have no status here: delete one, or its devices, to keep it out")
ENDPOINTS: Final[tuple[Endpoint[Any], ...]] = (
    Endpoint(
        method="GET",
        path="/tailnet/{tailnet}/users",
        scopes=(read(USERS),),
        handler=list_users,
        answer=Users,
        query=("type", "role"),
        summary="List users",
    ),
    Endpoint(
        method="GET",
        path="/users/{id}",
        scopes=(read(USERS),),
        handler=get_user,
        answer=User,
        summary="Get a user",
    ),
    Endpoint(
        method="POST",
        path="/users/{id}/delete",
        scopes=(USERS,),
        handler=delete,
        summary="Delete a user without devices",
    ),
    Endpoint(
        method="POST",
        path="/users/{id}/role",
        scopes=(USERS,),
        handler=give_role,
        body=NewRole,
        summary="Give a user a role",
    ),
    *(
        Endpoint(
            method="POST",
            path=f"/users/{{id}}/{verb}",
            scopes=(USERS,),
            handler=_NO_STATUS,
            body=bytes,
            summary=f"Not served: {verb} a user",
        )
        for verb in ("approve", "suspend", "restore")
    ),
)
