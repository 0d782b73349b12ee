"""What is said of a node that is away, and of one that is not."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from headscale.mapper.sessions import Visit
from headscale.mapper.stream import Ending
from headscale.monitoring.whyoffline import WhyOffline, ago, why_offline
from headscale.records import Node, RegisterMethod
from headscale.state.snapshot import with_silent
from headscale.tailcfg.derpmap import DERPMap, DERPRegion
from headscale.tailcfg.hostinfo import Hostinfo, NetInfo
from tests.builders import HOUR, NOW, node, tailnet, with_nodes

VISIT = Visit(since=NOW - 2 * HOUR, remote="192.0.2.7", version=142)
GONE = replace(VISIT, ended=NOW - HOUR, ending=Ending.LOST)


def asked(
    visit: Visit | None = None,
    *,
    has_stream: bool = False,
    started: datetime = NOW - 24 * HOUR,
    **fields: Any,
) -> WhyOffline:
    """The answer for a node with these fields."""
    one: Node = node(1, **fields)
    region = DERPRegion(region_id=5, region_code="five", region_name="Five", nodes=())
    snapshot = with_nodes(
        replace(tailnet("alice"), started_at=started, derp_map=DERPMap(regions={5: region})), one
    )
    return why_offline(snapshot, one, visit, has_stream=has_stream, now=NOW)


def codes(found: WhyOffline) -> list[str]:
    return [cause.code for cause in found.causes]


def at_home(region: int) -> Hostinfo:
    return Hostinfo(hostname="host1", net_info=NetInfo(preferred_derp=region))


def test_one_that_is_online_has_no_causes() -> None:
    found = asked(VISIT, has_stream=True, online=True, hostinfo=at_home(5))
    assert (found.online, codes(found), found.home_relay) == (True, [], "5 (Five)")
    assert found.summary == "host1 is online: connected since 2 h from 192.0.2.7"


def test_one_that_never_came_is_said_to_have_joined_only() -> None:
    found = asked(created_at=NOW - HOUR)
    assert codes(found) == ["never-connected"]
    assert "joined with a pre-auth key 1 h ago and never opened a stream" in found.summary


def test_one_that_joined_since_the_start_and_only_reported_itself_never_came_either() -> None:
    found = asked(created_at=NOW - HOUR, last_seen=NOW - HOUR / 2)
    assert codes(found) == ["never-connected"]


@pytest.mark.parametrize("ending", list(Ending))
def test_how_its_stream_ended_is_the_cause(ending: Ending) -> None:
    found = asked(replace(GONE, ending=ending), last_seen=NOW - HOUR)
    assert (codes(found), found.ending, found.ended) == ([ending.value], ending.value, NOW - HOUR)
    assert "(1 h ago)" in found.causes[0].what


def test_one_that_was_here_before_the_restart_is_waited_for_first() -> None:
    seen = {"last_seen": NOW - HOUR, "created_at": NOW - 48 * HOUR}
    assert codes(asked(started=NOW - timedelta(seconds=20), **seen)) == ["server-restarted"]
    late = asked(started=NOW - timedelta(seconds=61), **seen)
    assert codes(late) == ["not-since-restart"]
    assert "seen last 1 h ago" in late.causes[0].what


def test_an_ended_key_and_a_missing_approval_come_first() -> None:
    """They hold even while the client is connected: others do not see it."""
    found = asked(
        VISIT, has_stream=True, online=True, expired=True, authorized=False, expiry=NOW, hostinfo=at_home(5)
    )
    assert (found.online, codes(found)) == (False, ["not-approved", "expired"])
    assert found.summary.startswith("host1 is connected, but of no use to others")
    assert "headscale nodes approve -i 1" in found.causes[0].next
    assert "--force-reauth" in found.causes[1].next


def test_a_home_relay_that_is_gone_or_missing_is_named() -> None:
    assert codes(asked(VISIT, has_stream=True, online=True, hostinfo=at_home(9))) == ["no-such-relay"]
    assert codes(asked(VISIT, has_stream=True, online=True)) == ["no-home-relay"]
    assert codes(asked(GONE)) == ["lost"]


def test_a_router_that_did_not_answer_is_online_and_of_no_use() -> None:
    snapshot = with_silent(with_nodes(tailnet("alice"), node(1, online=True)), frozenset({1}))
    found = why_offline(snapshot, snapshot.nodes[1], VISIT, has_stream=True, now=NOW)
    assert (found.online, "silent" in codes(found), "but see below" in found.summary) == (True, True, True)


def test_of_a_wireguard_server_nothing_is_known() -> None:
    server = node(1, online=True, register_method=RegisterMethod.CONFIG)
    found = why_offline(with_nodes(tailnet("alice"), server), server, None, has_stream=False, now=NOW)
    assert (found.online, codes(found)) == (True, [])
    assert "never connects here" in found.summary


def test_one_within_its_grace_counts_as_online_without_a_stream() -> None:
    found = asked(GONE, online=True)
    assert (found.online, codes(found)) == (True, ["lost"])
    assert found.summary == "host1 counts as online, but has no stream open now"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (90061, "1 d 1 h"),
    ],
)
def test_a_time_span_is_read_by_people(seconds: int, text: str) -> None:
    assert ago(timedelta(seconds=seconds)) == text
