"""A server by URL, as a tailnet's server: it is found in a state and left in that state.

Scenarios set policies that open everything, so a tailnet with devices of other people is refused. What is made is in a
journal before anybody uses it; the end of a run takes it back, and so does the beginning of the run after a crash.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from json import dumps
from pathlib import Path
from typing import Any, Final

from harness.clients.base import Client
from harness.errors import HarnessError, NotAnswering, NotOffered
from harness.policies import ALLOW_ALL
from harness.servers.base import AdminRefused, AuthKey, ServerAbility, ServerNode, ServerUser, not_offered
from harness.servers.hosted.door import HUJSON, Door, api_of
from harness.servers.hosted.journal import Journal, journal_of
from harness.servers.hosted.people import VARIABLE, key_of, translated

KEYS: Final = "tailnet/-/keys"
ACL: Final = "tailnet/-/acl"
# Behind the text, so that complaints name its own lines.
MARK: Final = "\n// set by headscale-harness for a scenario; the policy before it comes back at the end\n"
NOT_FOUND: Final = 404
PRECONDITION_FAILED: Final = 412
DESCRIPTION: Final = "headscale-harness"


@dataclass(frozen=True, slots=True)
class Person:
    """Who stands for a scenario's user: their door, and their id and login at the server."""

    door: Door
    id: str
    login: str


class HostedServer:
    """See ControlServer. `credentials` are by the scenarios' names for users, see `people.credentials`."""

    name = "hosted"
    abilities = frozenset({ServerAbility.POLICY, ServerAbility.OAUTH})

    def __init__(
        self,
        url: str,
        credentials: Mapping[str, str],
        *,
        authority: bytes | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.authority = authority
        self.clients: Sequence[Client] = ()
        """Those of this run, by which its devices are known; the tailnet puts its list here."""
        self._credentials = credentials
        self._doors = {
            name: Door(api_of(url), text, authority=authority) for name, text in credentials.items()
        }
        self._admin = next(iter(self._doors.values()))
        self._journal = journal or journal_of(self.url)
        self._people: dict[str, Person] = {}
        self._nobodys: set[str] = set()
        self._ours: set[str] = set()
        self._keys: dict[str, Door] = {}
        self._tag = ""
        self._policy_before: str | None = None
        self._started = False

    # ---- its life

    async def start(self) -> None:
        """Take back what a former run left, and make the tailnet as one without a policy is."""
        if self._started:
            raise not_offered(self.name, ServerAbility.RESTART)
        self._started = True
        await self._take_back_what_is_left()
        if strangers := [node.given_name for node, _ in await self._devices()]:
            raise HarnessError(
                f"the tailnet at {self.url} has devices ({', '.join(strangers[:5])}) that no test made, and scenarios "
                "open everything to everybody: use a tailnet that is for tests only"
            )
        found = await self._admin.ask("GET", ACL, headers={"Accept": HUJSON})
        if found.text.endswith(MARK):
            raise HarnessError(
                f"the policy at {self.url} is one that a test set, and what was before is not known on this machine: "
                "set the tailnet's own policy, then run the tests again"
            )
        self._journal.made("policy", found.text)
        self._policy_before, self._tag = found.text, found.tag
        await self._put_policy(ALLOW_ALL)

    async def stop(self) -> None:
        raise not_offered(self.name, ServerAbility.RESTART)

    async def kill(self) -> None:
        raise not_offered(self.name, ServerAbility.RESTART)

    async def close(self) -> None:
        """Delete the devices and keys of this run, and put the policy back unless somebody set another meanwhile."""
        if not self._started:
            return
        with contextlib.suppress(HarnessError):
            await self._recognize()
        await self._delete(self._admin, (f"device/{number}" for number in self._ours))
        for number, door in self._keys.items():
            await self._delete(door, (f"{KEYS}/{number}",))
        if self._policy_before is not None:
            await self._put_back(self._policy_before)
        self._journal.clear()

    @property
    def folder(self) -> Path:
        raise not_offered(self.name, ServerAbility.CONFIGURATION, what="its files are elsewhere")

    async def evidence(self) -> AsyncIterator[tuple[str, bytes | Path]]:
        yield "nodes.json", dumps([asdict(node) for node in await self.nodes()], indent=1).encode()
        yield "policy.hujson", (await self._admin.ask("GET", ACL, headers={"Accept": HUJSON})).text.encode()

    # ---- users and keys

    async def create_user(self, name: str) -> str:
        """The person who stands for this user. A name without one is enough for tagged devices."""
        text = key_of(name, self._credentials, taken=len(self._people))
        if text is None:
            self._nobodys.add(name)
            return name
        door = next(self._doors[known] for known, key in self._credentials.items() if key == text)
        if door.is_oauth:
            self._nobodys.add(name)
            return name
        self._people[name] = await self._person(door)
        return name

    async def users(self) -> list[ServerUser]:
        return [
            ServerUser(id=str(number), name=name, email="", provider_id="")
            for number, name in enumerate(self._people, start=1)
        ]

    async def create_key(
        self,
        user_id: str,
        *,
        reusable: bool,
        ephemeral: bool,
        lifetime: timedelta,
        tags: Sequence[str],
    ) -> AuthKey:
        if not tags and user_id in self._nobodys:
            why = f"{VARIABLE} has no key of a person for the user {user_id}"
            raise not_offered(self.name, ServerAbility.USERS, what=why)
        door = self._admin if tags else self._people[user_id].door
        wanted = {"reusable": reusable, "ephemeral": ephemeral, "preauthorized": True, "tags": list(tags)}
        return await self._new_key(door, wanted, lifetime)

    async def create_oauth_client(self, *, scopes: Sequence[str], tags: Sequence[str]) -> AuthKey:
        body = {"keyType": "client", "scopes": list(scopes), "tags": list(tags), "description": DESCRIPTION}
        return self._kept(self._admin, (await self._admin.ask("POST", KEYS, body)).document)

    async def expire_key(self, key_id: str) -> None:
        raise not_offered(self.name, ServerAbility.END_OF_KEYS, what="a key is only deleted")

    async def delete_key(self, key_id: str) -> None:
        door = self._keys.get(key_id, self._admin)
        await door.ask("DELETE", f"{KEYS}/{key_id}")

    # ---- nodes

    async def nodes(self) -> list[ServerNode]:
        """Those of this run's clients."""
        await self._recognize()
        return [node for node, _ in await self._devices() if node.id in self._ours]

    async def rename_node(self, node_id: str, name: str) -> None:
        await self._admin.ask("POST", f"device/{node_id}/name", {"name": name})

    async def delete_node(self, node_id: str) -> None:
        await self._admin.ask("DELETE", f"device/{node_id}")

    async def expire_node(self, node_id: str, *, at: datetime | None = None) -> None:
        if at is not None:
            raise not_offered(
                self.name, ServerAbility.END_OF_KEYS, what="a node's key ends now or not at all"
            )
        await self._admin.ask("POST", f"device/{node_id}/expire")

    async def never_expire_node(self, node_id: str) -> None:
        await self._admin.ask("POST", f"device/{node_id}/key", {"keyExpiryDisabled": True})

    async def set_tags(self, node_id: str, tags: Sequence[str]) -> None:
        if not tags:
            raise NotOffered(
                "REST v2 takes no tags for no wish, and does not say that a device keeps its last one"
            )
        await self._admin.ask("POST", f"device/{node_id}/tags", {"tags": list(tags)})

    async def approve_routes(self, node_id: str, routes: Sequence[str]) -> None:
        await self._admin.ask("POST", f"device/{node_id}/routes", {"routes": list(routes)})

    async def authorize_node(self, node_id: str) -> None:
        await self._admin.ask("POST", f"device/{node_id}/authorized", {"authorized": True})

    # ---- what people or the tailnet's owner decide

    async def let_in(self, login_id: str, user_name: str) -> None:
        raise not_offered(self.name, ServerAbility.LOGINS)

    async def turn_away(self, login_id: str) -> None:
        raise not_offered(self.name, ServerAbility.LOGINS)

    async def confirm_session(self, check_id: str) -> None:
        raise not_offered(self.name, ServerAbility.LOGINS)

    async def set_device_approval(self, *, on: bool) -> None:
        raise not_offered(self.name, ServerAbility.APPROVAL, what="it is a setting of the whole tailnet")

    async def ping_node(self, node_id: str) -> bool:
        raise not_offered(self.name, ServerAbility.PING)

    async def set_policy(self, text: str) -> None:
        await self._put_policy(text)

    # ---- how it is done

    async def _person(self, door: Door) -> Person:
        """Whose key it is, by a key that they make for a device of theirs and that is deleted at once."""
        wanted = {"reusable": False, "ephemeral": True, "preauthorized": True, "tags": []}
        body = _key_body(wanted, timedelta(minutes=5))
        made = (await door.ask("POST", KEYS, body)).document
        self._kept(door, made)
        await self._delete(door, (f"{KEYS}/{made['id']}",))
        number = str(made.get("userId") or "")
        if not number:
            raise HarnessError(f"{self.url} does not tell whose the API key is: keys have no userId")
        user = (await self._admin.ask("GET", f"users/{number}")).document
        return Person(door, number, user["loginName"])

    async def _new_key(self, door: Door, wanted: Mapping[str, Any], lifetime: timedelta) -> AuthKey:
        return self._kept(door, (await door.ask("POST", KEYS, _key_body(wanted, lifetime))).document)

    def _kept(self, door: Door, made: Mapping[str, Any]) -> AuthKey:
        self._journal.made("key", made["id"])
        self._keys[made["id"]] = door
        return AuthKey(made["id"], made["key"])

    async def _devices(self) -> list[tuple[ServerNode, str]]:
        """All devices, by id, each with its node key."""
        document = (await self._admin.ask("GET", "tailnet/-/devices?fields=all")).document
        numbers = {person.login: str(number) for number, person in enumerate(self._people.values(), start=1)}
        names = {person.login: name for name, person in self._people.items()}
        found = [
            (_node(each, names, numbers), each.get("nodeKey") or "") for each in document["devices"] or ()
        ]
        return sorted(found, key=lambda pair: int(pair[0].id))

    async def _recognize(self) -> None:
        """Devices are ours whose node key one of our clients holds; once known they stay so."""
        held = set()
        for client in self.clients:
            with contextlib.suppress(NotAnswering):
                await client.read()
            with contextlib.suppress(HarnessError):  # one that was never read
                if client.status.self_node is not None:
                    held.add(client.status.self_node.public_key)
        for node, key in await self._devices():
            if key in held and node.id not in self._ours:
                self._journal.made("device", node.id)
                self._ours.add(node.id)

    async def _put_policy(self, text: str) -> None:
        """Put it in force unless somebody else set one meanwhile."""
        real = translated(text, {name: person.login for name, person in self._people.items()})
        headers = {"Accept": HUJSON, **({"If-Match": self._tag} if self._tag else {})}
        self._tag = (await self._admin.ask("POST", ACL, text=real + MARK, headers=headers)).tag

    async def _put_back(self, text: str) -> None:
        """Whoever set another policy meanwhile meant it: theirs stays."""
        headers = {"If-Match": self._tag} if self._tag else {}
        try:
            await self._admin.ask("POST", ACL, text=text, headers=headers)
        except AdminRefused as problem:
            if problem.status != PRECONDITION_FAILED:
                raise

    async def _take_back_what_is_left(self) -> None:
        left = self._journal.read()
        await self._delete(self._admin, (f"device/{number}" for number in sorted(left.devices)))
        named = (await self._admin.ask("GET", f"{KEYS}?all=true")).document["keys"] or ()
        others = {
            key["id"] for key in named if key.get("description") == DESCRIPTION and not key.get("revoked")
        }
        await self._delete(self._admin, (f"{KEYS}/{number}" for number in sorted(left.keys | others)))
        found = await self._admin.ask("GET", ACL, headers={"Accept": HUJSON})
        if left.policy is not None and found.text.endswith(MARK):
            self._tag = found.tag
            await self._put_back(left.policy)
        self._journal.clear()

    async def _delete(self, door: Door, paths: Any) -> None:
        """Delete what may be gone already."""
        for path in paths:
            try:
                await door.ask("DELETE", path)
            except AdminRefused as problem:
                if problem.status != NOT_FOUND:
                    raise


def _key_body(wanted: Mapping[str, Any], lifetime: timedelta) -> Mapping[str, Any]:
    return {
        "capabilities": {"devices": {"create": dict(wanted)}},
        "expirySeconds": max(1, round(lifetime.total_seconds())),
        "description": DESCRIPTION,
    }


def _node(device: Mapping[str, Any], names: Mapping[str, str], numbers: Mapping[str, str]) -> ServerNode:
    """A device of REST v2 as the harness has nodes; a service of the hosted kind says `connectedToControl`."""
    login = device.get("user") or ""
    approved = set(device.get("enabledRoutes") or ())
    return ServerNode(
        id=str(device["id"]),
        given_name=str(device["name"]).partition(".")[0],
        hostname=device["hostname"],
        user=names.get(login, login),
        user_id=numbers.get(login, "0"),
        addresses=tuple(device["addresses"]),
        online=bool(device.get("connectedToControl", _seen_lately(device))),
        node_key=device.get("nodeKey") or "",
        tags=tuple(device.get("tags") or ()),
        routes=tuple(route for route in device.get("advertisedRoutes") or () if route in approved),
        served=None,
    )


def _seen_lately(device: Mapping[str, Any]) -> bool:
    """For services that only tell when they saw a device last."""
    seen = str(device.get("lastSeen") or "")
    return seen != "" and datetime.now(UTC) - datetime.fromisoformat(seen) < timedelta(minutes=2)
