"""Taildrive: a shared folder is there for whom a grant names, as much as it says, and for nobody else."""

import asyncio
import json

import pytest

from harness.clients.base import Ability, Client
from harness.errors import NotAnswering
from harness.policies import grant, policy
from harness.tailnet import Tailnet
from harness.wait import RECHECK_SECONDS, Budget
from harness.web import Page, fetch_page

CAPABILITY = "tailscale.com/cap/drive"
ATTRIBUTES = [{"target": ["*"], "attr": ["drive:share", "drive:access"]}]
EVERYTHING = grant("*", to="*")
# Where a client shows the folders of all its peers (tailscale v1.80.3 and v1.102.4, ipn/ipnlocal/drive.go).
LOCAL = "http://100.100.100.100:8080"
SHARE = "docs"


def drive(who: str, access: str) -> dict[str, object]:
    """A grant of the share on alice's machines."""
    return grant(who, to="alice@", app={CAPABILITY: [{"shares": [SHARE], "access": access}]})


@pytest.mark.needs("tun")  # the local end is at an address of the tailnet's interface
async def test_a_folder_is_shared_with_whom_the_grant_names(tailnet: Tailnet) -> None:
    """One reads, one writes as well, one sees nothing; with the grant gone none does."""
    sharing = await tailnet.join_each(able=Ability.PREFS)
    reader, writer, other = [await tailnet.join(f"{who}", name=who) for who in ("reader", "writer", "other")]
    await tailnet.meshed([*sharing, reader, writer, other])
    for client in sharing:
        refused = await client.cli("drive", "share", SHARE, client.machine.path(SHARE))
        assert "drive:share" in refused.message
    granted = policy(EVERYTHING, drive("reader@", "ro"), drive("writer@", "rw"), nodeAttrs=ATTRIBUTES)
    await tailnet.set_policy(granted)
    for client in sharing:
        (client.machine.data / SHARE).mkdir()
        (client.machine.data / SHARE / "hello.txt").write_text(f"of {client.name}")
        await until_shared(client)

    for client in sharing:
        name = await tailnet.given_name(client)
        folder = await url_of(reader, name, SHARE)
        hello, new = f"{folder}/hello.txt", f"{folder}/new.txt"
        page = await until_status(reader, hello, 200)
        assert page.text == f"of {client.name}"
        listed = await fetch_page(reader, folder, method="PROPFIND", headers={"Depth": "1"})
        assert f"/{SHARE}/hello.txt" in listed.text
        assert (await fetch_page(reader, new, method="PUT", body=b"no")).status in (403, 405)
        assert not (client.machine.data / SHARE / "new.txt").exists()
        await until_status(writer, hello, 200)
        assert (await fetch_page(writer, new, method="PUT", body=b"yes")).status in (200, 201, 204)
        assert (client.machine.data / SHARE / "new.txt").read_text() == "yes"
        assert (await fetch_page(other, hello)).status == 403
        direct = f"{await peer_api(other, name)}/v0/drive/{SHARE}/hello.txt"
        assert (await fetch_page(other, direct)).status == 403

    names = {await tailnet.given_name(client) for client in sharing}
    assert await peers_listed(reader, names) == await peers_listed(writer, names) == names
    assert await peers_listed(other, names) == set()

    await tailnet.set_policy(policy(EVERYTHING, nodeAttrs=ATTRIBUTES))
    for client in sharing:
        name = await tailnet.given_name(client)
        for former in (reader, writer):
            await until_status(former, await url_of(former, name, SHARE, "hello.txt"), 403)
            await until_status(former, f"{await peer_api(former, name)}/v0/drive/{SHARE}/hello.txt", 403)


async def until_shared(client: Client) -> None:
    """`tailscale drive share`, once the client may."""
    async with asyncio.timeout(Budget.POLICY.seconds):
        while not (await client.cli("drive", "share", SHARE, client.machine.path(SHARE))).ok:  # noqa: ASYNC110
            await asyncio.sleep(RECHECK_SECONDS)


async def until_status(client: Client, url: str, status: int) -> Page:
    """The page, once it has this status: a client looks at what its peers share every few seconds."""
    page = None
    try:
        async with asyncio.timeout(Budget.SYNC.seconds):
            while True:
                try:
                    page = await fetch_page(client, url)
                except NotAnswering:
                    page = None
                if page is not None and page.status == status:
                    return page
                await asyncio.sleep(RECHECK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{client.name}: {url} is not {status} but {page}") from None


async def peers_listed(client: Client, names: set[str]) -> set[str]:
    """Which of these peers the client shows as sharing something with it."""
    url = await url_of(client)
    listed = await fetch_page(client, url, method="PROPFIND", headers={"Depth": "1"})
    assert listed.status == 207
    return {name for name in names if f"/{name}/" in listed.text or f"/{name}<" in listed.text}


async def url_of(client: Client, *path: str) -> str:
    """Where this client finds what is shared: below the tailnet's name and the peer's."""
    return "/".join((LOCAL, (await client.netmap())["Domain"], *path))


async def peer_api(client: Client, name: str) -> str:
    """Where this client reaches the peer's own services."""
    status = json.loads((await client.cli("status", "--json")).message)
    [url] = [
        peer["PeerAPIURL"][0] for peer in status["Peer"].values() if peer["DNSName"].startswith(f"{name}.")
    ]
    return str(url)
