"""headscale users …"""

from typing import Final

import click

from headscale.cli.client import call, segment
from headscale.cli.framework import Command, Failed, Group
from headscale.cli.output import confirm, moment, show, show_table
from headscale.records import Role

_WITH_ARTICLE: Final = {
    Role.OWNER: "the owner",
    Role.ADMIN: "an admin",
    Role.NETWORK_ADMIN: "a network-admin",
    Role.AUDITOR: "an auditor",
    Role.MEMBER: "a member",
}


@click.group(cls=Group, aliases=("user",))
def users() -> None:
    """Manage the users of this server."""


@users.command(cls=Command, aliases=("c", "new"))
@click.argument("name")
@click.option("-d", "--display-name", default="", help="The name for people.")
@click.option("-e", "--email", default="", help="Their e-mail address.")
@click.option("-p", "--picture-url", default="", help="Where their picture is.")
def create(name: str, display_name: str, email: str, picture_url: str) -> None:
    """Create a user."""
    body = {"name": name, "displayName": display_name, "email": email, "pictureUrl": picture_url}
    user = call("POST", "/api/v1/user", body=body)["user"]
    show(user, text=f"User created: {user['name']} (ID {user['id']})")


@users.command(name="list", cls=Command, aliases=("ls", "show"))
@click.option("-i", "--identifier", help="Only the user with this ID.")
@click.option("-n", "--name", help="Only users of this name.")
@click.option("-e", "--email", help="Only users of this e-mail.")
def list_users(identifier: str | None, name: str | None, email: str | None) -> None:
    """List users."""
    users_found = _find(identifier, name, email)
    roles = {told["userId"]: told["role"] for told in _roles()}
    found = [{**user, "role": roles.get(user["id"], "")} for user in users_found]
    show_table(
        found,
        ("ID", "Name", "Username", "Email", "Role", "Created"),
        [
            (u["id"], u["displayName"], u["name"], u["email"], u["role"], moment(u["createdAt"]))
            for u in found
        ],
    )


@users.command(cls=Command, aliases=("delete",))
@click.option("-i", "--identifier", help="The user's ID.")
@click.option("-n", "--name", help="The user's name.")
def destroy(identifier: str | None, name: str | None) -> None:
    """Delete a user that has no nodes."""
    user = _only(identifier, name)
    if confirm(f"Delete user {user['name']} (ID {user['id']}) and their pre-auth keys?"):
        call("DELETE", f"/api/v1/user/{user['id']}")
        show({}, text=f"User destroyed: {user['name']}")
    else:
        show({}, text="User not destroyed")


@users.command(cls=Command, aliases=("mv",))
@click.option("-i", "--identifier", help="The user's ID.")
@click.option("-n", "--name", help="The user's present name.")
@click.option("-r", "--new-name", required=True, help="The new name.")
def rename(identifier: str | None, name: str | None, new_name: str) -> None:
    """Give a user another name."""
    user = _only(identifier, name)
    user = call("POST", f"/api/v1/user/{user['id']}/rename/{segment(new_name)}")["user"]
    show(user, text=f"User renamed: {user['name']} (ID {user['id']})")


@users.command(cls=Command)
@click.option("-i", "--identifier", help="The user's ID.")
@click.option("-n", "--name", help="The user's name.")
def logout(identifier: str | None, name: str | None) -> None:
    """End the keys of all devices of a user now; each has to be logged in again."""
    user = _only(identifier, name)
    who = f"{user['name'] or user['email']} (ID {user['id']})"
    if not confirm(f"Log out all devices of {who}?"):
        show({}, text="Nobody was logged out")
        return
    ended = call("POST", f"/api/v1/user/{user['id']}/logout")
    show(ended, text=f"Logged out: {len(ended['nodes'])} device(s) of {who}")


@users.command(name="set-role", cls=Command)
@click.argument("user")
@click.argument("role", type=click.Choice([role.value for role in Role]))
def set_role(user: str, role: str) -> None:
    """Give USER (a name, e-mail address or ID) a ROLE.

    The owner stays the owner until somebody else is made it; then they are an admin.
    """
    told = call("POST", f"/api/v1/user/{id_of_user(user)}/role", body={"role": role})["role"]
    show(told, text=f"{told['name']} (ID {told['userId']}) is {_WITH_ARTICLE[Role(told['role'])]} now")


def _roles() -> list[dict[str, str]]:
    found: list[dict[str, str]] = call("GET", "/api/v1/user/roles")["roles"]
    return found


def id_of_user(text: str) -> str:
    """The ID of the one user whom somebody calls so: by name or e-mail address, else by ID. Raises Failed."""
    users = _find(None, None)
    found = [user for user in users if text in (user["name"], user["email"])]
    found = found or [user for user in users if user["id"] == text]
    if len(found) != 1:
        raise Failed(
            f"expected exactly one user called {text}, found {len(found)}: see `headscale users list`, and use an ID"
        )
    return found[0]["id"]


def _find(identifier: str | None, name: str | None, email: str | None = None) -> list[dict[str, str]]:
    given = {"id": identifier, "name": name, "email": email}
    query = next(({key: value} for key, value in given.items() if value), {})
    found: list[dict[str, str]] = call("GET", "/api/v1/user", query=query)["users"]
    return found


def _only(identifier: str | None, name: str | None) -> dict[str, str]:
    if not identifier and not name:
        raise click.UsageError("say which user: --identifier ID or --name NAME")
    found = _find(identifier, name)
    if len(found) != 1:
        asked = f"ID {identifier}" if identifier else f"name {name}"
        raise Failed(f"expected exactly one user of {asked}, found {len(found)}: see `headscale users list`")
    return found[0]
