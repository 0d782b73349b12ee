"""From a Go headscale to this server: devices notice nothing, and the keys that people have go on working."""

import asyncio
import os
import secrets
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from harness.clients.base import Ability, Client
from harness.conditions import running
from harness.peerdatabase import PeerDatabase, stamp
from harness.servers.base import AuthKey, all_online
from harness.servers.process import ProcessServer
from harness.tailnet import Tailnet
from harness.wait import Budget

COST = 10  # the Go headscale's


class Keys:
    """Keys as the Go headscale makes and keeps them."""

    def __init__(self) -> None:
        self.prefix, self.secret = secrets.token_hex(6), secrets.token_hex(32)
        self.hashed = bcrypt.hashpw(self.secret.encode(), bcrypt.gensalt(COST))

    def text(self, kind: str) -> str:
        """What its owner has."""
        return f"hskey-{kind}-{self.prefix}-{self.secret}"


def as_the_peer_has_it(database: Path, key: Keys, api_key: Keys) -> PeerDatabase:
    """What our server knows, written down as 0.29 of the Go headscale would."""
    peer = PeerDatabase("0.29")
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        for user in connection.execute("SELECT * FROM users"):
            peer.user(user["name"], id=user["id"])
        for node in connection.execute("SELECT * FROM nodes"):
            peer.add(
                "nodes",
                **{name: node[name] for name in ("id", "machine_key", "node_key", "disco_key", "hostname")},
                **{
                    name: node[name]
                    for name in ("ipv4", "ipv6", "given_name", "user_id", "tags", "endpoints")
                },
                host_info=node["hostinfo"],
                approved_routes="null",
                register_method="authkey",
                last_seen=stamp(),
                created_at=stamp(),
            )
    peer.add("pre_auth_keys", prefix=key.prefix, hash=key.hashed, user_id=1, reusable=1, created_at=stamp())
    peer.add("api_keys", prefix=api_key.prefix, hash=api_key.hashed, created_at=stamp())
    return peer


async def import_afresh(server: ProcessServer, peer: PeerDatabase, folder: Path) -> str:
    """Empty the stopped server's data directory but for the Noise key, and import; returns what the command printed."""
    source = await asyncio.to_thread(peer.write_sqlite, folder / "peer.sqlite")
    data = server.settings.data
    shutil.move(data / "noise_private.key", folder / "noise.key")
    for path in data.iterdir():
        path.unlink() if not path.is_dir() else shutil.rmtree(path)
    shutil.move(folder / "noise.key", data / "noise_private.key")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headscale.cli.main", "import", str(source), "--apply"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **server.variables},
    )
    output, _ = await asyncio.wait_for(process.communicate(), Budget.COMMAND.seconds)
    assert process.returncode == 0, output.decode()
    return output.decode()


async def users_by_api(url: str, key: str) -> tuple[int, list[str]]:
    """The status, and the names of the users as an API key shows them."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        async with session.get(f"{url}/api/v1/user") as answer:
            document = await answer.json(content_type=None)
            return answer.status, [user["name"] for user in document.get("users", ())]


@pytest.mark.server("process")
async def test_devices_of_a_go_headscale_stay_in(tailnet: Tailnet, tmp_path: Path) -> None:
    """With its database and its Noise key nobody logs in again: numbers, addresses, names and node keys stay, packets
    flow; its pre-auth keys let new devices in, and its API keys open the API.
    """
    server = tailnet.server
    assert isinstance(server, ProcessServer)
    clients = await tailnet.join_each()
    tagged = await tailnet.join("alice", name="tagged", tags=["tag:server"])
    clients.append(tagged)
    await tailnet.reach(clients)
    before = await server.nodes()
    await server.stop()

    key, api_key = Keys(), Keys()
    printed = await import_afresh(
        server, as_the_peer_has_it(server.settings.database, key, api_key), tmp_path
    )
    assert "Left out" not in printed.replace("Already there  Left out", "")
    await server.start()

    after = await tailnet.until_nodes(all_online(len(clients)), Budget.RECONNECT)
    assert [stable(node) for node in after] == [stable(node) for node in before]
    await tailnet.reach(clients)
    for client in clients:
        await client.until(running(), Budget.SYNC)
    assert registered_anew(server.output, clients) == []
    assert "login waits" not in server.output

    await tailnet.each(
        tailnet.releases, lambda release: newcomer(tailnet, release, AuthKey("1", key.text("auth")))
    )
    await tailnet.meshed(tailnet.clients)
    await tailnet.reach(tailnet.clients)
    assert await users_by_api(server.url, api_key.text("api")) == (200, ["alice"])
    assert (await users_by_api(server.url, api_key.text("api")[:-1] + "x"))[0] == 401


def registered_anew(output: str, clients: list[Client]) -> list[str]:
    """What the server says of clients that registered. tailscale-rs does so at each connection, with the key that it
    has, and is given nothing new by it.
    """
    usual = [client.name for client in clients if Ability.LOGOUT not in client.abilities]
    lines = (line for line in output.splitlines() if "node registered" in line)
    return [line for line in lines if not any(f"name={name} " in line for name in usual)]


def stable(node: object) -> tuple[object, ...]:
    """What an import must not change of a node."""
    names = ("id", "given_name", "user", "addresses", "node_key", "tags")
    return tuple(getattr(node, name) for name in names)


async def newcomer(tailnet: Tailnet, release: object, key: AuthKey) -> Client:
    """A client that joins now."""
    return await tailnet.log_in(await tailnet.client(release), key)  # type: ignore[arg-type]
