"""Mistakes in what clients are told of each other, and of the tailnet."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import structs

from harness.mutants.patches import Function, Mutant, Patch
from headscale.tailcfg.hostinfo import Hostinfo
from headscale.tailcfg.maps import MapResponse
from headscale.tailcfg.node import PeerChange

RENAMED = "scenarios/test_names.py::test_a_rename_is_seen_and_resolved_by_peers"


def _deltas(change: Callable[[MapResponse], MapResponse | None]) -> Patch:
    """Every message but a stream's first, changed."""

    def make(original: Function) -> Function:
        def message_for(*args: Any, **kwargs: Any) -> MapResponse | None:
            message: MapResponse | None = original(*args, **kwargs)
            return message and change(message)

        return message_for

    return Patch("headscale.mapper.diff:message_for", make)


def _patches(change: Callable[[PeerChange], PeerChange | None]) -> Patch:
    """Every patch of a peer, changed."""

    def make(original: Function) -> Function:
        def patch(before: Any, after: Any) -> PeerChange | None:
            found: PeerChange | None = original(before, after)
            return found and change(found)

        return patch

    return Patch("headscale.mapper.changes:_patch", make)


def _by_hostname(original: Function) -> Function:
    def dns_name(settings: Any, node: Any) -> str:
        name: str = original(settings, node)
        return name.replace(node.given_name, node.hostname, 1)

    return dns_name


def _nameless_when_tagged(original: Function) -> Function:
    def dns_name(settings: Any, node: Any) -> str:
        return "" if node.tags else str(original(settings, node))

    return dns_name


def _always_online(original: Function) -> Function:
    def node(*args: Any) -> Any:
        return structs.replace(original(*args), online=True, last_seen=None)

    return node


def _owner_less(original: Function) -> Function:
    def shared_dns(snapshot: Any) -> Any:
        return structs.replace(original(snapshot), domains=())

    return shared_dns


def _first_records(original: Function) -> Function:
    """The records of the first question, for ever."""
    kept: list[Any] = []

    def shared_dns(snapshot: Any) -> Any:
        found = original(snapshot)
        kept.append(found.extra_records)
        return structs.replace(found, extra_records=kept[0])

    return shared_dns


MUTANTS = (
    Mutant(
        "changed-peer-forgotten",
        "who came or changed is not in the message that tells the others",
        [RENAMED],
        [_deltas(lambda message: structs.replace(message, peers_changed=()))],
    ),
    Mutant(
        "removed-peer-stays",
        "who was deleted is not taken out of the others' netmaps",
        ["scenarios/test_login.py::test_a_deleted_node_is_gone_for_everyone"],
        [_deltas(lambda message: structs.replace(message, peers_removed=()))],
    ),
    Mutant(
        "rules-not-pushed",
        "a connected client keeps the rules that it began with",
        ["scenarios/test_policy_change.py::test_policies_follow_each_other_directly"],
        [_deltas(lambda message: structs.replace(message, packet_filters=msgspec.UNSET))],
    ),
    Mutant(
        "patch-for-another",
        "a patch names the node after the one that changed",
        ["scenarios/test_login.py::test_down_and_up_again"],
        [_patches(lambda patch: structs.replace(patch, node_id=patch.node_id + 1))],
    ),
    Mutant(
        "old-node-key-told",
        "peers do not hear of the new key of a node that logged in again",
        ["scenarios/test_web_login.py::test_a_forced_login_changes_the_key_and_nothing_else"],
        [_patches(lambda patch: structs.replace(patch, key=""))],
    ),
    Mutant(
        "expiry-not-told",
        "peers do not hear when a node's key ends",
        ["scenarios/test_expiry.py::test_a_key_that_will_end_is_good_until_then"],
        [_patches(lambda patch: structs.replace(patch, key_expiry=None))],
    ),
    Mutant(
        "online-for-ever",
        "a node that left is shown online",
        ["scenarios/test_login.py::test_down_and_up_again"],
        [
            Patch("headscale.mapper.render:_node", _always_online),
            _patches(lambda patch: structs.replace(patch, online=msgspec.UNSET, last_seen=None)),
        ],
    ),
    Mutant(
        "dns-name-stale",
        "a node's name in DNS is its client's own, whatever an administrator chose",
        [RENAMED],
        [Patch("headscale.mapper.render:dns_name", _by_hostname)],
    ),
    Mutant(
        "dns-name-missing",
        "a tagged node has no name in MagicDNS",
        ["scenarios/test_dns.py::test_magic_dns_answers_for_every_node"],
        [Patch("headscale.mapper.render:dns_name", _nameless_when_tagged)],
    ),
    Mutant(
        "search-domains-lost",
        "clients are told no search domains",
        ["scenarios/test_dns.py::test_search_domains_and_fallbacks_are_in_the_netmap"],
        [Patch("headscale.mapper.dns:shared_dns", _owner_less)],
    ),
    Mutant(
        "extra-records-stale",
        "changed DNS records are not passed on",
        ["scenarios/test_dns.py::test_extra_records_follow_their_file"],
        [Patch("headscale.mapper.dns:shared_dns", _first_records)],
    ),
    Mutant(
        "derp-map-stale",
        "connected clients keep the relays of the former configuration",
        ["scenarios/test_derp.py::test_a_changed_map_is_told_to_who_is_connected"],
        [_deltas(lambda message: structs.replace(message, derp_map=None))],
    ),
    Mutant(
        "hostinfo-not-passed-on",
        "peers do not hear what a client says of itself, such as where it takes files",
        ["scenarios/test_taildrop.py::test_files_go_between_devices_of_one_user"],
        [
            Patch(
                "headscale.mapper.render:shared_hostinfo",
                lambda original: lambda hostinfo, location=None: Hostinfo(hostname=hostinfo.hostname),
            )
        ],
    ),
)
