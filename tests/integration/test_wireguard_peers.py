"""Plain WireGuard servers of the configuration, as clients are told of them: at a start, a reload and a restart.

With a real WireGuard server and packets: scenarios/test_wireguard_peers.py.
"""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from harness.clients.fake import AnswerRefused
from headscale.keys import generate_private_key
from tests.integration.fakes import Tailnet
from tests.integration.test_dns import serving

PRIVATE = generate_private_key()
KEY = PRIVATE.public
PEER: dict[str, Any] = {
    "name": "sto1",
    "public_key": base64.b64encode(KEY).decode(),
    "endpoints": ["192.0.2.1:51820"],
    "tags": ["tag:vpn"],
    "dns": ["10.64.0.1"],
    "country": "Sweden",
    "country_code": "SE",
    "city": "Stockholm",
    "city_code": "STO",
}
POLICY = """{
    "tagOwners": {"tag:vpn": []},
    "grants": [{"src": ["alice@"], "dst": ["autogroup:internet"], "ip": ["*"]}],
}"""


@pytest.fixture
async def tailnet() -> AsyncIterator[Tailnet]:
    async with serving({"wireguard_peers": [PEER]}) as made:
        await made.server.set_policy(POLICY)
        yield made


async def test_who_may_is_told_of_it_as_an_exit_node(tailnet: Tailnet) -> None:
    alices, bobs = await tailnet.join("alices"), await tailnet.join("bobs", user="2")
    (peer,) = (await alices.stream()).netmap.peers.values()
    assert (peer["Key"], peer["IsWireGuardOnly"], peer["Online"]) == ("nodekey:" + KEY.hex(), True, True)
    assert peer["AllowedIPs"] == [*peer["Addresses"], "0.0.0.0/0", "::/0"]
    assert (peer["Endpoints"], peer["ExitNodeDNSResolvers"]) == (["192.0.2.1:51820"], [{"Addr": "10.64.0.1"}])
    assert peer["Hostinfo"]["Location"] == {
        "Country": "Sweden",
        "CountryCode": "SE",
        "City": "Stockholm",
        "CityCode": "STO",
    }
    assert not (await bobs.stream()).netmap.peers


async def test_it_keeps_its_address_over_a_restart_and_stays_online(tailnet: Tailnet) -> None:
    alices = await tailnet.join("alices")
    (before,) = (await alices.stream()).netmap.peers.values()
    await tailnet.server.stop()
    await tailnet.server.start()
    (after,) = (await alices.stream()).netmap.peers.values()
    assert after == before


async def test_administrators_see_it_and_change_it_in_the_configuration_alone(tailnet: Tailnet) -> None:
    (node,) = (await tailnet.server.call("GET", "node"))["nodes"]
    assert (node["givenName"], node["tags"], node["online"]) == ("sto1", ["tag:vpn"], True)
    assert node["registerMethod"] == "REGISTER_METHOD_UNSPECIFIED"
    for method, path in (("DELETE", ""), ("POST", "/expire"), ("POST", "/rename/other")):
        with pytest.raises(Exception, match="wireguard_peers in the configuration"):
            await tailnet.server.call(method, f"node/{node['id']}{path}")


async def test_a_client_with_its_key_is_nobody(tailnet: Tailnet) -> None:
    """Not even who runs the WireGuard server, and so has its private key, becomes that node."""
    thief = await tailnet.client("thief", node_private=PRIVATE)
    node = tailnet.node(1)
    for key in ("", await tailnet.key()):
        answer = await thief.register(auth_key=key)
        assert "in use by another machine" in answer["Error"]
        assert answer["MachineAuthorized"] is False
    with pytest.raises(AnswerRefused, match="node not found"):
        await thief.map_once()
    assert tailnet.node(1) == node
    assert tailnet.node(2) is None
