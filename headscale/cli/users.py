"""headscale users …"""

import click

from headscale.cli.client import call, segment
from headscale.cli.framework import Command, Failed, Group
from headscale.cli.output import confirm, moment, show, show_table


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
    found = _find(identifier, name, email)
    show_table(
        found,
        ("ID", "Name", "Username", "Email", "Created"),
        [(u["id"], u["displayName"], u["name"], u["email"], moment(u["createdAt"])) for u in found],
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
