"""The smallest message that brings a stream from one snapshot to a later one.

What happened to whom is worked out once for everybody (`compare`), by node and not by viewer. What one viewer hears of
it is what it sees (`message_for`): who comes into its view is sent whole, who leaves it is removed, and of the others
it hears what changed. Viewers with the same `kind_of` hear the same.
"""

from collections.abc import Hashable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec

from headscale.derp.regions import for_client
from headscale.mapper.build import BASE_FILTER, own_node, profiles
from headscale.mapper.changes import change_of
from headscale.mapper.dns import dns_for, is_own, shared_dns
from headscale.mapper.notices import notice_fields
from headscale.mapper.render import PeerBytes
from headscale.mapper.view import (
    Ways,
    class_of,
    filter_key,
    has_other_filter,
    lacks_ipv4,
    others_on_its_routes,
    own_look,
    own_ways,
    packet_filter,
    peers_of,
    rerouting,
    restyled,
    seen_by_class,
    seen_of,
    ssh_policy,
    ways_through,
)
from headscale.records import Node
from headscale.state.snapshot import Snapshot
from headscale.state.subjects import is_same_subject
from headscale.tailcfg import node as wire
from headscale.tailcfg.dns import DNSConfig
from headscale.tailcfg.filters import FilterRule
from headscale.tailcfg.maps import MapResponse
from headscale.tailcfg.node import PeerChange
from headscale.tailcfg.ssh import SSHPolicy


@dataclass(frozen=True, slots=True)
class _Shift:
    """What happened to a viewer's sight, or to that of all viewers of a class: then each may be in its own.

    Of those that it saw and sees (`both`): which are sent whole or patched, and whose owners are told.
    """

    sees: Set[int]
    both: Set[int]
    removed: Set[int]
    added: Set[int]
    whole: Set[int]
    reowned: Set[int]
    patched: Set[int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What happened between two snapshots, by node.

    `touched` are the nodes that came, went or may look different to somebody. Of those in both snapshots, `whole` are
    sent whole, `patches` with a patch, and of `reowned` the owner's profile. Through `gateways` anyone's routes may
    differ.
    `is_resettled`: with another policy anyone may see anyone anew, touched or not. `dns_before` and `dns_after` are
    what nodes share of DNS, the same object when that did not change.
    """

    old: Snapshot
    new: Snapshot
    touched: frozenset[int]
    whole: frozenset[int]
    patches: dict[int, PeerChange]
    reowned: frozenset[int]
    gateways: frozenset[int]
    is_resettled: bool
    derp_changed: bool
    dns_before: DNSConfig
    dns_after: DNSConfig
    peer_bytes: PeerBytes
    # Objects whose identity stands in a kind, so that it stays theirs.
    alive: list[object] = field(default_factory=list)
    # By the classes of a viewer before and after.
    shifts: dict[tuple[object, object], _Shift] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class News:
    """What a viewer hears of others. `owners` are the nodes whose owners it is told; `mentions` is everybody in it."""

    removed: Set[int]
    whole: Set[int]
    patched: Set[int]
    owners: Set[int]
    mentions: frozenset[int]


def compare(old: Snapshot, new: Snapshot, touched: Set[int], *, peer_bytes: PeerBytes) -> Comparison:
    """Find what happened to the touched nodes, and to those that a policy or an election touched."""
    is_resettled = old.policy_epoch != new.policy_epoch
    every = {*touched, *rerouting(old, new), *(restyled(old, new) if is_resettled else ())}
    gateways = old.gateways | new.gateways
    for node_id in gateways & every:
        every.update(others_on_its_routes(old, new, node_id))
    for node_id in every:
        if node_id not in new.nodes:
            peer_bytes.forget(node_id)
    dns_before = shared_dns(old)
    changes = {i: change_of(old, new, i) for i in sorted(every) if i in old.nodes and i in new.nodes}
    return Comparison(
        old=old,
        new=new,
        touched=frozenset(every),
        whole=frozenset(i for i, change in changes.items() if change.whole),
        patches={i: change.patch for i, change in changes.items() if change.patch is not None},
        reowned=frozenset(i for i, change in changes.items() if change.reowned),
        gateways=gateways if is_resettled else gateways & every,
        is_resettled=is_resettled,
        derp_changed=old.derp_map is not new.derp_map,
        dns_before=dns_before,
        dns_after=dns_before if old.extra_records == new.extra_records else shared_dns(new),
        peer_bytes=peer_bytes,
    )


def kind_of(comparison: Comparison, viewer_id: int) -> Hashable:
    """Equal for viewers that hear the same, but for those whom the message mentions; None for one that is alone.

    Visibility is symmetric: when a viewer of the same kind is not mentioned in another's message, that other is not
    mentioned in its own, and the two messages are one. Of DNS they hear the same, too, but for those who have a set-up
    of their own.
    """
    old, new = comparison.old, comparison.new
    if viewer_id in comparison.touched:
        return None
    hides, dns = lacks_ipv4(new, viewer_id), _new_dns(comparison, viewer_id)
    if dns is not None and dns is not comparison.dns_after:  # its own
        return None
    if old.policy is new.policy:
        return (class_of(new, viewer_id), hides)
    if comparison.is_resettled and _own_change(comparison, viewer_id) is not None:
        return None
    rules = filter_key(new, viewer_id) if has_other_filter(old, new, viewer_id) else None
    ssh = _new_ssh(comparison, viewer_id)
    comparison.alive.append(ssh)
    seen = (class_of(old, viewer_id), class_of(new, viewer_id), lacks_ipv4(old, viewer_id), hides)
    return (*seen, rules, id(ssh))


def news_for(comparison: Comparison, viewer_id: int) -> News:
    """Whom the viewer sees, no longer sees, or sees changed."""
    old, new = comparison.old, comparison.new
    shift = _shift(comparison, viewer_id)
    whole = _but(shift.added, viewer_id) | _but(shift.whole, viewer_id)
    if lacks_ipv4(old, viewer_id) != lacks_ipv4(new, viewer_id):
        whole = _but(shift.sees, viewer_id)
    ways = _ways(comparison, viewer_id)
    rerouted = {i for i, (was, now) in ways.items() if was != now and i in shift.both}
    told = rerouted | _but(shift.reowned, viewer_id)
    patched, removed = _but(shift.patched, viewer_id), _but(shift.removed, viewer_id)
    mentions = frozenset(removed | whole | patched | told) if comparison.is_resettled else comparison.touched
    return News(
        removed=removed, whole=whole | rerouted, patched=patched, owners=whole | told, mentions=mentions
    )


def _shift(comparison: Comparison, viewer_id: int) -> _Shift:
    """What the viewer saw and sees: of everything when that may have changed, else of the touched nodes.

    With another policy, viewers that were of one class and are of one class share it: to compare all that each of them
    saw with all that it sees would be work for every pair of nodes.
    """
    old, new = comparison.old, comparison.new
    if comparison.is_resettled:
        classes = (class_of(old, viewer_id), class_of(new, viewer_id))
        if classes not in comparison.shifts:
            saw, sees = (frozenset(seen_by_class(snapshot, viewer_id)) for snapshot in (old, new))
            comparison.shifts[classes] = _shift_between(comparison, saw, sees)
        return comparison.shifts[classes]
    if _is_moved(comparison, viewer_id):
        return _shift_between(comparison, peers_of(old, viewer_id), peers_of(new, viewer_id))
    before = seen_of(old, viewer_id, comparison.touched)
    after = before if old.policy is new.policy else seen_of(new, viewer_id, comparison.touched)
    return _shift_between(comparison, before, after)


def _shift_between(comparison: Comparison, saw: Set[int], sees: Set[int]) -> _Shift:
    both = saw & sees
    return _Shift(
        sees=sees,
        both=both,
        removed=saw - sees,
        added=sees - saw,
        whole=both & comparison.whole,
        reowned=both & comparison.reowned,
        patched=both & comparison.patches.keys(),
    )


def _but(nodes: Set[int], viewer_id: int) -> Set[int]:
    """Without the viewer, which may stand among those whom its class sees."""
    return nodes - {viewer_id} if viewer_id in nodes else nodes


def message_for(
    comparison: Comparison, news: News, *, viewer_id: int, version: int, now: datetime
) -> MapResponse | None:
    """The news and the viewer's own affairs as a message; None when there is nothing."""
    new, own = comparison.new, _own_change(comparison, viewer_id)
    rules, ssh = _new_filter(comparison, viewer_id), _new_ssh(comparison, viewer_id)
    dns = _new_dns(comparison, viewer_id)
    owners = news.owners | (comparison.reowned & {viewer_id})
    notices = _new_notices(comparison, viewer_id, version)
    of_others = news.patched or owners or news.removed
    its_own = own or rules is not None or ssh or dns is not None or notices
    if not (its_own or of_others or comparison.derp_changed):
        return None
    return MapResponse(
        control_time=now,
        node=own,
        derp_map=for_client(new.derp_map, version) if comparison.derp_changed else None,
        dns_config=dns,
        peers_removed=tuple(sorted(news.removed)),
        peers_changed=_whole(comparison, viewer_id, news.whole),
        peers_changed_patch=tuple(map(comparison.patches.__getitem__, sorted(news.patched))),
        packet_filters={BASE_FILTER: rules} if rules is not None else msgspec.UNSET,
        ssh_policy=ssh,
        user_profiles=profiles(new, owners),
        **notices,
    )


def _whole(comparison: Comparison, viewer_id: int, nodes: Set[int]) -> tuple[msgspec.Raw, ...]:
    new, hidden = comparison.new, lacks_ipv4(comparison.new, viewer_id)
    return tuple(
        comparison.peer_bytes.of(new, new.nodes[i], ways_through(new, viewer_id, i), without_ipv4=hidden)
        for i in sorted(nodes)
    )


def _is_moved(comparison: Comparison, viewer_id: int) -> bool:
    """Whether the viewer may see other nodes than before although these did not change."""
    if comparison.is_resettled:
        return True
    if viewer_id not in comparison.touched:
        return False
    before, after = comparison.old.nodes.get(viewer_id), comparison.new.nodes.get(viewer_id)
    return before is None or after is None or not is_same_subject(before, after)


def _ways(comparison: Comparison, viewer_id: int) -> dict[int, tuple[Ways, Ways]]:
    """The viewer's routes before and after, by gateway, where they may differ."""
    old, new, gateways = comparison.old, comparison.new, comparison.gateways
    if _is_moved(comparison, viewer_id):
        gateways = old.gateways | new.gateways
    return {
        i: (ways_through(old, viewer_id, i), ways_through(new, viewer_id, i))
        for i in sorted(gateways)
        if i in new.nodes and i != viewer_id
    }


def _new_filter(comparison: Comparison, viewer_id: int) -> tuple[FilterRule, ...] | None:
    """What the viewer lets in, when that changed."""
    if not has_other_filter(comparison.old, comparison.new, viewer_id):
        return None
    return packet_filter(comparison.new, viewer_id)


def _new_ssh(comparison: Comparison, viewer_id: int) -> SSHPolicy | None:
    """Who may log in to the viewer, when that changed."""
    if comparison.old.policy is comparison.new.policy:
        return None
    before, after = ssh_policy(comparison.old, viewer_id), ssh_policy(comparison.new, viewer_id)
    return None if before is after or before == after else after


def _new_notices(comparison: Comparison, viewer_id: int, version: int) -> Mapping[str, Any]:
    """What the viewer's client is to show its user, when that changed."""
    before, after = comparison.old.nodes.get(viewer_id), comparison.new.nodes.get(viewer_id)
    if before is after or before is None or after is None:
        return {}
    return notice_fields(comparison.new.settings, before, after, version=version)


def _new_dns(comparison: Comparison, viewer_id: int) -> DNSConfig | None:
    """The viewer's DNS set-up, when that changed: the shared one itself, or its own."""
    old, new = comparison.old, comparison.new
    before, after = old.nodes.get(viewer_id), new.nodes.get(viewer_id)
    if before is None or after is None:
        return None
    if comparison.dns_before is comparison.dns_after:
        may_differ = viewer_id in comparison.touched or comparison.is_resettled
        if not (may_differ and is_own(new)):
            return None
    was, now = dns_for(comparison.dns_before, old, before), dns_for(comparison.dns_after, new, after)
    return None if was == now else now


def _own_change(comparison: Comparison, viewer_id: int) -> wire.Node | None:
    """The viewer's node when its client has to hear of it: not its own echo, not that it is online."""
    old, new = comparison.old, comparison.new
    before, after = old.nodes.get(viewer_id), new.nodes.get(viewer_id)
    if before is None or after is None:
        return None
    if before is after:
        if viewer_id not in comparison.touched and not comparison.is_resettled:
            return None
        same_look = own_look(old, viewer_id) == own_look(new, viewer_id)
        if same_look and own_ways(old, viewer_id) == own_ways(new, viewer_id):
            return None
    unechoed = _without_echo(before, after)
    return own_node(new, after) if own_node(new, unechoed) != own_node(old, before) else None


def _without_echo(before: Node, after: Node) -> Node:
    return replace(
        after,
        endpoints=before.endpoints,
        disco_key=before.disco_key,
        online=before.online,
        last_seen=before.last_seen,
        cap_version=before.cap_version,
    )
