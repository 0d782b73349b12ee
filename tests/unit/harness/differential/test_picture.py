"""Two sound servers give one picture, whatever numbers, keys and addresses they drew."""

from typing import Any

from harness.differential.ledger import differences
from harness.differential.picture import names_of, plain_netmap, plain_nodes
from harness.servers.base import ServerNode


def node(number: int, name: str, address: str, key: str, user: str = "alice") -> ServerNode:
    return ServerNode(
        str(number), name, name, user, "1", (address,), online=True, node_key=key, tags=(), routes=()
    )


def shown(number: int, name: str, address: str, key: str, user: int) -> dict[str, Any]:
    return {
        "ID": number,
        "StableID": str(number),
        "Name": f"{name}.tailnet.internal.",
        "User": user,
        "Key": key,
        "Machine": f"mkey:{number}",
        "Addresses": [f"{address}/32"],
        "Created": f"2026-01-{number:02}T00:00:00Z",
        "HomeDERP": number,
        "Endpoints": [f"10.0.0.{number}:1"],
        "Hostinfo": {"Services": [{"Proto": "peerapi4", "Port": number}]},
    }


def picture(base: int, *, peer_name: str = "b", tags: list[str] | None = None) -> Any:
    """Of a server that counts from `base`."""
    a, b = f"100.64.0.{base}", f"100.64.0.{base + 1}"
    nodes = [node(base, "a", a, f"nodekey:{base}"), node(base + 1, peer_name, b, f"nodekey:{base + 1}")]
    netmap = {
        "SelfNode": shown(base, "a", a, f"nodekey:{base}", base),
        "Peers": [shown(base + 1, peer_name, b, f"nodekey:{base + 1}", base) | {"Tags": tags}],
        "UserProfiles": {str(base): {"ID": base, "LoginName": "alice", "DisplayName": "alice"}},
        "PacketFilter": [{"Srcs": [f"{b}/32", f"{a}/32"], "IPProto": [17, 6]}],
        "Domain": f"10.1.1.{base}",
    }
    names = names_of(nodes, {str(base): "a", str(base + 1): "b"}, [netmap], host=f"10.1.1.{base}")
    return {"netmap": plain_netmap(netmap, names, [str(base + 1)]), "nodes": plain_nodes(nodes, names)}


def test_what_each_server_draws_for_itself_is_no_difference() -> None:
    """And an absent value is the same as an empty one."""
    assert picture(1) == picture(7, tags=[])
    assert picture(1)["netmap"]["online"] == ["b"]


def test_what_they_decide_is() -> None:
    """A name, as administrators and as peers see it; a tag."""
    places = [found.at for found in differences(picture(1), picture(7, peer_name="c", tags=["tag:x"]), at="")]
    assert places == [
        "/netmap/Peers/b/Name",
        "/netmap/Peers/b/Tags",
        "/nodes/b/given_name",
        "/nodes/b/hostname",
    ]


def test_a_filter_for_another_node_is_told() -> None:
    """Addresses are replaced by whose they are, inside prefixes too."""
    assert picture(1)["netmap"]["PacketFilter"] == [
        {"Srcs": ["<IPv4 of a>/32", "<IPv4 of b>/32"], "IPProto": [17, 6]}
    ]
