"""What a client is to show its user: when, in which form, and when it is taken back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from headscale.mapper.notices import BEHIND, ENDING, WAITING, client_version, notice_fields, notices_of
from headscale.records import Node
from headscale.state.nodes import expire_node, mark_ending
from headscale.tailcfg.health import ClientVersion, DisplayMessage
from headscale.tailcfg.hostinfo import Hostinfo
from tests.builders import HOUR, NOW, SETTINGS, moment, node, tailnet, with_nodes

FINE = node(1)
WAITS = node(1, authorized=False)
ENDS = node(1, ending=True, expiry=NOW + HOUR)
OLD, NEW = 116, 117


def told(one: Node) -> dict[str, DisplayMessage]:
    """The messages for this node's client."""
    return notices_of(SETTINGS, one, version=NEW)


def test_a_node_that_is_well_has_nothing_to_show() -> None:
    assert told(FINE) == {}
    assert notice_fields(SETTINGS, None, FINE, version=NEW) == {}
    assert told(replace(ENDS, expired=True)) == {}


def test_each_trouble_has_its_message() -> None:
    assert list(told(WAITS)) == [WAITING]
    assert told(WAITS)[WAITING].impacts_connectivity is True
    assert "2026-06-01 at 13:00 UTC" in told(ENDS)[ENDING].text
    assert set(told(replace(ENDS, authorized=False))) == {WAITING, ENDING}


def test_a_message_is_taken_back_by_name_and_the_others_stay() -> None:
    both = replace(ENDS, authorized=False)
    assert notice_fields(SETTINGS, both, ENDS, version=NEW) == {"display_messages": {WAITING: None}}
    assert notice_fields(SETTINGS, ENDS, ENDS, version=NEW) == {}
    later = replace(ENDS, expiry=NOW + 2 * HOUR)
    assert notice_fields(SETTINGS, ENDS, later, version=NEW) == {"display_messages": told(later)}


def test_an_older_client_gets_the_whole_list_as_text() -> None:
    [text] = notice_fields(SETTINGS, None, WAITS, version=OLD)["health"]
    assert text.startswith("This device waits for approval. An administrator")
    assert notice_fields(SETTINGS, WAITS, FINE, version=OLD) == {"health": ()}


def test_a_key_ends_soon_from_the_warning_time_on_and_not_before() -> None:
    """A day where keys live for ever, else a quarter of their life and a week at most."""
    for expiry, warning in ((None, 24 * HOUR), (8 * HOUR, 2 * HOUR), (timedelta(days=90), timedelta(days=7))):
        settings = replace(SETTINGS, node_expiry=expiry)
        assert settings.expiry_warning == warning
    snapshot = with_nodes(
        tailnet("alice"), node(1, expiry=NOW + 24 * HOUR), node(2, expiry=NOW + 25 * HOUR), node(3)
    )
    marked = mark_ending(snapshot, moment())
    assert ({i for i, n in marked.snapshot.nodes.items() if n.ending}, marked.touched, marked.writes) == (
        {1},
        {1},
        (),
    )
    put_off = expire_node(marked.snapshot, moment(), node_id=1, expiry=None).snapshot
    assert mark_ending(put_off, moment()).snapshot.nodes[1].ending is False


@pytest.mark.parametrize(
    ("latest", "running", "verdict"),
    [
        ("", "1.80.3", None),
        ("1.102.4", "", None),
        ("1.102.4", "0.6.1", None),
        ("1.102.4", "1.102.4-t1234-g5678", ClientVersion(running_latest=True)),
        ("1.102.4", "1.103.0-dev", ClientVersion(running_latest=True)),
        ("1.102.4", "1.102.10", ClientVersion(running_latest=True)),
        ("1.102.4", "1.80.3-t1234", ClientVersion(latest_version="1.102.4")),
        ("1.102.4", "1.102.3", ClientVersion(latest_version="1.102.4")),
    ],
)
def test_a_client_learns_whether_it_runs_the_latest_release(
    latest: str, running: str, verdict: ClientVersion | None
) -> None:
    settings = replace(SETTINGS, latest_client=latest)
    assert client_version(settings, node(1, hostinfo=Hostinfo(ipn_version=running))) == verdict


def test_clients_that_lose_the_version_are_told_in_words() -> None:
    """From 1.92 on; what runs the latest, or is of no known release, is not."""
    settings = replace(SETTINGS, latest_client="1.102.4")
    for version, running, ids in (
        (130, "1.90.9", set()),
        (131, "1.92.5", {BEHIND}),
        (142, "1.102.4-t1", set()),
        (142, "0.6.1", set()),
    ):
        one = node(1, hostinfo=Hostinfo(ipn_version=running))
        assert set(notices_of(settings, one, version=version)) == ids
    updated = node(1, hostinfo=Hostinfo(ipn_version="1.102.4"))
    behind = node(1, hostinfo=Hostinfo(ipn_version="1.92.5"))
    assert notice_fields(settings, behind, updated, version=142) == {"display_messages": {BEHIND: None}}
