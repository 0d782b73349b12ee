"""`wireguard_peers` of a configuration."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headscale.config.dump import effective
from headscale.config.file import BadConfig, load_config
from headscale.config.settings import Config
from headscale.tailcfg.hostinfo import Location

KEY = base64.b64encode(bytes(range(32))).decode()
PEER: dict[str, Any] = {
    "name": "sto1",
    "public_key": KEY,
    "endpoints": ["192.0.2.1:51820", "[2001:DB8::1]:51820"],
    "tags": ["tag:vpn"],
}
Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(*peers: Any) -> Config:
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps({"wireguard_peers": list(peers)}))
        return load_config(path, {})

    return loaded


def test_a_peer_is_an_exit_unless_it_says_otherwise(load: Load) -> None:
    (peer,) = load(PEER).wireguard_peers
    assert (peer.name, peer.tags, peer.routes) == ("sto1", ("tag:vpn",), ("0.0.0.0/0", "::/0"))
    assert peer.endpoints == ("192.0.2.1:51820", "[2001:db8::1]:51820")
    assert peer.public_key == "nodekey:" + bytes(range(32)).hex()
    (router,) = load({**PEER, "routes": ["10.2.0.0/16", "10.1.2.3/16"]}).wireguard_peers
    assert router.routes == ("10.1.0.0/16", "10.2.0.0/16")
    (exit_node,) = load({**PEER, "routes": ["::/0"]}).wireguard_peers
    assert exit_node.routes == ("0.0.0.0/0", "::/0")


def test_where_it_stands_and_whom_it_asks(load: Load) -> None:
    place = {"country": "Sweden", "country_code": "SE", "city": "Stockholm", "city_code": "STO"}
    (peer,) = load({**PEER, **place, "dns": ["10.64.0.1"]}).wireguard_peers
    assert (peer.location, peer.dns) == (Location("Sweden", "SE", "Stockholm", "STO"), ("10.64.0.1",))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "a b"}, "name: 'a b' is not a node name"),
        ({"name": "a.b"}, "is not a node name"),
        ({"public_key": "x"}, "public_key: expected a key as `wg pubkey` prints it"),
        ({"public_key": base64.b64encode(bytes(32)).decode()}, "public_key: expected a key"),
        ({"endpoints": []}, "endpoints: at least one"),
        ({"endpoints": ["vpn.example.com:51820"]}, "is not an address with a port"),
        ({"endpoints": ["192.0.2.1:0"]}, "is not an address with a port"),
        ({"tags": []}, "tags: at least one"),
        ({"tags": ["vpn"]}, "tags: 'vpn' is not a tag"),
        ({"routes": ["10.0.0.0/40"]}, "routes: '10.0.0.0/40' is not a prefix"),
        ({"dns": ["one.one"]}, "dns: 'one.one' is not an IP address"),
        ({"country": "Sweden"}, "are given together or not at all"),
        ({"public": "x"}, "unknown field `public`"),
        ({"tags": "tag:vpn"}, "Expected `array`"),
    ],
)
def test_what_is_wrong_is_named_with_its_entry(load: Load, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadConfig) as refused:
        load({**PEER, "name": "other"}, {**PEER, **changes})
    assert "wireguard_peers: entry 2: " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize("field", ["name", "public_key"])
def test_two_of_one_name_or_key_are_refused(load: Load, field: str) -> None:
    other = {**PEER, "name": "other", "public_key": base64.b64encode(bytes(range(1, 33))).decode()}
    assert len(load(PEER, other).wireguard_peers) == 2
    with pytest.raises(BadConfig, match=f"two entries have the same {field}"):
        load(PEER, {**other, field: PEER[field]})


def test_what_is_dumped_reads_as_the_same(load: Load) -> None:
    config = load({**PEER, "dns": ["10.64.0.1"], "routes": ["10.1.0.0/16"]})
    assert load(*effective(config)["wireguard_peers"]).wireguard_peers == config.wireguard_peers
