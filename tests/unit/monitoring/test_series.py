"""The series of each node: right text, and kept while the node is the same."""

from dataclasses import replace
from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families

from headscale.monitoring.series import FAMILIES, NodeSeries
from headscale.state.snapshot import Snapshot, put_node
from tests.builders import NOW, node, router, tailnet, with_nodes, with_user


def read(text: str) -> dict[tuple[str, str], tuple[dict[str, str], float]]:
    """By family and node, as another implementation reads it."""
    return {
        (sample.name, sample.labels["id"]): (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def small() -> Snapshot:
    return with_nodes(
        tailnet("alice"), node(1, online=True), router(2, "10.0.0.0/8", tags=("tag:a",), user_id=None)
    )


def test_each_node_has_its_series() -> None:
    found = read(NodeSeries().render(small()))
    labels, value = found["headscale_nodes_info", "1"]
    assert value == 1
    assert (labels["user"], labels["given_name"], labels["register_method"]) == (
        *("alice", "host1"),
        "REGISTER_METHOD_AUTH_KEY",
    )
    assert [found["headscale_nodes_online", each][1] for each in "12"] == [1, 0]
    assert found["headscale_nodes_subnet_routes", "2"][1] == 1
    assert found["headscale_nodes_tags", "2"][1] == 1
    assert found["headscale_nodes_info", "2"][0]["user"] == "tagged-devices"
    assert found["headscale_nodes_created_timestamp", "1"][1] == NOW.timestamp()


def test_a_node_without_an_expiry_has_no_such_series() -> None:
    snapshot = with_nodes(tailnet("alice"), node(1), node(2, expiry=NOW + timedelta(hours=1)))
    found = read(NodeSeries().render(snapshot))
    assert ("headscale_nodes_expiry_timestamp", "1") not in found
    assert found["headscale_nodes_expiry_timestamp", "2"][1] == (NOW + timedelta(hours=1)).timestamp()


def test_what_nodes_call_themselves_cannot_break_out_of_a_label() -> None:
    wild = 'a"} 1\nheadscale_up 0\\'
    found = read(NodeSeries().render(with_nodes(tailnet("alice"), node(1, hostname=wild))))
    assert found["headscale_nodes_info", "1"][0]["name"] == wild
    assert {name for name, _ in found} <= FAMILIES.keys()


def test_a_second_scrape_shows_what_changed_of_a_node() -> None:
    series, snapshot = NodeSeries(), small()
    series.render(snapshot)
    snapshot = put_node(snapshot, replace(snapshot.nodes[1], online=False))
    assert read(series.render(snapshot))["headscale_nodes_online", "1"][1] == 0


def test_a_second_scrape_shows_what_changed_of_its_user() -> None:
    series, snapshot = NodeSeries(), small()
    series.render(snapshot)
    found = read(series.render(with_user(snapshot, snapshot.users[1], name="alicia")))
    assert found["headscale_nodes_info", "1"][0]["user"] == "alicia"


def test_a_tailnet_without_nodes_has_families_without_series() -> None:
    text = NodeSeries().render(tailnet())
    assert read(text) == {}
    assert text.count("# TYPE") == len(FAMILIES)
