"""/api/v1/user"""

from functools import partial

import msgspec
from aiohttp import web

from headscale.api.acts import Acts
from headscale.api.grants import GRANT
from headscale.api.v1.body import answer, parse_id, read_body
from headscale.api.v1.objects import user_object
from headscale.errors import Conflict, Malformed
from headscale.records import User
from headscale.state.people import log_out_user
from headscale.state.roles import OwnerStays, mapping_of, role_named, set_role
from headscale.state.users import create_user, delete_user, rename_user


class NewUser(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a creation."""

    name: str = ""
    display_name: str = ""
    email: str = ""
    picture_url: str = ""


class NewRole(msgspec.Struct, frozen=True):
    """The body that gives somebody a role."""

    role: str


class RoleShown(msgspec.Struct, frozen=True, rename="camel"):
    """Somebody's role; `decided_by` is the key of the configuration that decides it, empty for administrators."""

    user_id: str
    name: str
    role: str
    decided_by: str


class Users:
    """Create, list, rename, delete, log out; and their roles, which are ours."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [
            web.post("/api/v1/user", self.create),
            web.get("/api/v1/user", self.list),
            web.delete("/api/v1/user/{id}", self.delete),
            web.post("/api/v1/user/{id}/rename/{name}", self.rename),
            web.post("/api/v1/user/{id}/logout", self.log_out),
            web.get("/api/v1/user/roles", self.list_roles),
            web.post("/api/v1/user/{id}/role", self.set_role),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """A new local user."""
        asked = await read_body(request, NewUser)
        user = await self._acts.apply(
            request,
            "user.create",
            partial(
                create_user,
                name=asked.name,
                display_name=asked.display_name,
                email=asked.email,
                profile_pic_url=asked.picture_url,
            ),
        )
        return answer({"user": user_object(user)})

    async def list(self, request: web.Request) -> web.Response:
        """All users by id, or those with the first given of ?name, ?email and ?id."""
        users = sorted(self._acts.snapshot.users.values(), key=lambda user: user.id)
        if name := request.query.get("name"):
            users = [user for user in users if user.name == name]
        elif email := request.query.get("email"):
            users = [user for user in users if user.email == email]
        elif wanted := request.query.get("id"):
            user_id = parse_id(wanted, "user")
            users = [user for user in users if user.id == user_id]
        return answer({"users": [user_object(user) for user in users]})

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a user without nodes; with nodes it is a 400, as the peer's scripts expect, but not for the owner."""
        user_id = parse_id(request.match_info["id"], "user")
        try:
            await self._acts.apply(request, "user.delete", partial(delete_user, user_id=user_id))
        except OwnerStays:
            raise
        except Conflict as problem:
            raise Malformed(str(problem)) from problem
        return answer({})

    async def rename(self, request: web.Request) -> web.Response:
        """The same user under another name."""
        user_id = parse_id(request.match_info["id"], "user")
        user = await self._acts.apply(
            request, "user.rename", partial(rename_user, user_id=user_id, name=request.match_info["name"])
        )
        return answer({"user": user_object(user)})

    async def log_out(self, request: web.Request) -> web.Response:
        """The keys of all devices of the user end now (ours; the peer ends them one by one)."""
        user_id = parse_id(request.match_info["id"], "user")
        ended = await self._acts.apply(request, "user.logout", partial(log_out_user, user_id=user_id))
        return answer({"nodes": [str(node.id) for node in ended]})

    async def list_roles(self, request: web.Request) -> web.Response:
        """Everybody's role, by id. (The peer's user objects have no room for it.)"""
        users = sorted(self._acts.snapshot.users.values(), key=lambda user: user.id)
        return answer({"roles": [self._role(user) for user in users]})

    async def set_role(self, request: web.Request) -> web.Response:
        """Another role; a new owner takes over from the one of before."""
        user_id = parse_id(request.match_info["id"], "user")
        asked = await read_body(request, NewRole)
        by = request[GRANT].person
        step = partial(set_role, user_id=user_id, role=role_named(asked.role), by=by)
        return answer({"role": self._role(await self._acts.apply(request, "user.role", step))})

    def _role(self, user: User) -> RoleShown:
        mapping = mapping_of(self._acts.snapshot.settings, user)
        return RoleShown(str(user.id), user.login, user.role.value, mapping.key if mapping else "")
