"""What a client is to show its user: when, in which form, and when it is taken back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from headscale.mapper.notices import ENDING, WAITING, client_version, notice_fields, notices_of
from headscale.state.nodes import expire_node, mark_ending
from headscale.tailcfg.health import ClientVersion
from headscale.tailcfg.hostinfo import Hostinfo
from tests.builders import HOUR, NOW, SETTINGS, moment, node, tailnet, with_nodes

FINE = node(1)
WAITS = node(1, authorized=False)
ENDS = node(1, ending=True, expiry=NOW + HOUR)
OLD, NEW = 116, 117


def test_a_node_that_is_well_has_nothing_to_show() -> None:
    assert notices_of(FINE) == {}
    assert notice_fields(None, FINE, version=NEW) == {}
    assert notices_of(replace(ENDS, expired=True)) == {}


def test_each_trouble_has_its_message() -> None:
    assert list(notices_of(WAITS)) == [WAITING]
    assert notices_of(WAITS)[WAITING].impacts_connectivity is True
    assert "2026-06-01 at 13:00 UTC" in notices_of(ENDS)[ENDING].text
    assert set(notices_of(replace(ENDS, authorized=False))) == {WAITING, ENDING}


def test_a_message_is_taken_back_by_name_and_the_others_stay() -> None:
    both = replace(ENDS, authorized=False)
    assert notice_fields(both, ENDS, version=NEW) == {"display_messages": {WAITING: None}}
    assert notice_fields(ENDS, ENDS, version=NEW) == {}
    later = replace(ENDS, expiry=NOW + 2 * HOUR)
    assert notice_fields(ENDS, later, version=NEW) == {"display_messages": notices_of(later)}


def test_an_older_client_gets_the_whole_list_as_text() -> None:
    [text] = notice_fields(None, WAITS, version=OLD)["health"]
    assert text.startswith("This device waits for approval. An administrator")
    assert notice_fields(WAITS, FINE, version=OLD) == {"health": ()}


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
