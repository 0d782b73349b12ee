"""What a map request changes of its node."""

from headscale.keys import DiscoKey
from headscale.records import Update
from headscale.state.report import ENDPOINTS_MAX, report, usable_endpoints
from headscale.tailcfg.hostinfo import Hostinfo, NetInfo
from headscale.tailcfg.maps import MapRequest
from tests.builders import NOW, moment, nkey, node, tailnet, with_nodes

DISCO = DiscoKey("discokey:" + "ab" * 32)


def asked(**fields: object) -> MapRequest:
    return MapRequest(node_key=nkey(1), version=142, **fields)  # type: ignore[arg-type]


def test_the_same_report_again_changes_and_writes_nothing() -> None:
    snapshot = with_nodes(tailnet("alice"), node(1))
    effect = report(snapshot, moment(), node_id=1, request=asked())
    assert effect.snapshot is snapshot
    assert effect.writes == ()


def test_endpoints_are_taken_from_lite_updates_only() -> None:
    snapshot = with_nodes(tailnet("alice"), node(1, endpoints=("192.0.2.1:1",)))
    lite = report(snapshot, moment(), node_id=1, request=asked(endpoints=("192.0.2.2:2",)))
    stream = report(snapshot, moment(), node_id=1, request=asked(endpoints=(), stream=True))
    assert lite.snapshot.nodes[1].endpoints == ("192.0.2.2:2",)
    assert stream.snapshot.nodes[1].endpoints == ("192.0.2.1:1",)


def test_no_endpoints_told_is_not_no_endpoints() -> None:
    snapshot = with_nodes(tailnet("alice"), node(1, endpoints=("192.0.2.1:1",)))
    assert report(snapshot, moment(), node_id=1, request=asked()).result.endpoints == ("192.0.2.1:1",)
    assert report(snapshot, moment(), node_id=1, request=asked(endpoints=())).result.endpoints == ()


def test_a_zero_disco_key_does_not_erase_the_known_one() -> None:
    snapshot = with_nodes(tailnet("alice"), node(1, disco_key=DISCO))
    assert report(snapshot, moment(), node_id=1, request=asked(stream=True)).result.disco_key == DISCO


def test_a_new_disco_key_comes_with_a_new_time() -> None:
    """Clients from 1.98 on drop a disco key change of an offline peer whose LastSeen is not newer."""
    snapshot = with_nodes(tailnet("alice"), node(1, last_seen=None))
    changed = report(snapshot, moment(), node_id=1, request=asked(disco_key=DISCO))
    assert changed.result.last_seen == NOW
    assert changed.writes == (Update(changed.result),)


def test_what_is_not_repeated_of_the_network_is_kept() -> None:
    home = Hostinfo(hostname="host1", net_info=NetInfo(preferred_derp=999))
    snapshot = with_nodes(tailnet("alice"), node(1, hostinfo=home))
    for told in (Hostinfo(hostname="host1", os="linux"), Hostinfo(hostname="host1", net_info=NetInfo())):
        assert report(snapshot, moment(), node_id=1, request=asked(hostinfo=told)).result.home_derp == 999


def test_a_name_follows_the_client_while_nobody_chose_one() -> None:
    host = Hostinfo(hostname="renamed")
    auto = with_nodes(tailnet("alice"), node(1))
    chosen = with_nodes(tailnet("alice"), node(1, given_name="mine"))
    assert report(auto, moment(), node_id=1, request=asked(hostinfo=host)).result.given_name == "renamed"
    assert report(chosen, moment(), node_id=1, request=asked(hostinfo=host)).result.given_name == "mine"


def test_a_client_cannot_take_anothers_name() -> None:
    snapshot = with_nodes(tailnet("alice"), node(1), node(2))
    effect = report(snapshot, moment(), node_id=1, request=asked(hostinfo=Hostinfo(hostname="host2")))
    assert effect.snapshot.nodes[1].given_name == "host2-1"
    assert effect.snapshot.node_by_name["host2"] == 2


def test_a_node_that_was_deleted_meanwhile_is_none() -> None:
    assert report(tailnet(), moment(), node_id=1, request=asked()).result is None


def test_peers_get_only_endpoints_that_they_can_dial() -> None:
    told = (
        "192.0.2.1:41641",
        "[2001:db8::1]:41641",
        "[fe80::1]:41641",
        "[fe80::1%eth0]:41641",
        "2001:db8::1:41641",
        "[192.0.2.1]:1",
        "[2001:db8::1:1",
        "192.0.2.1:٤١",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "example.com:1",
        "192.0.2.1",
        "",
        ":",
    )
    assert usable_endpoints(told) == ("192.0.2.1:41641", "[2001:db8::1]:41641")


def test_endpoints_are_bounded() -> None:
    told = tuple(f"192.0.2.1:{port}" for port in range(1, ENDPOINTS_MAX + 2))
    assert len(usable_endpoints(told[:-1])) == ENDPOINTS_MAX
    assert usable_endpoints(told) == told[:-1]
