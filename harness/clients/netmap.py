"""What a client makes of the map responses of one poll: the state that a Go client would hold.

Nodes stay the JSON objects that arrived; a changed one is a new object, never an edited one. The order inside one
message, the reduction of a changed peer to a patch, and what such a patch cannot say are the Go client's.
Source: tailscale.com v1.102.4, control/controlclient/map.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

Json = dict[str, Any]

# Absent AllowedIPs mean Addresses from here on (1.80).
ALLOWED_IPS_DEFAULT_VERSION: Final = 112
# Patches with an older disco key are dropped from here on (1.98).
STALE_DISCO_VERSION: Final = 138

BASE_FILTER: Final = "base"
ALL: Final = "*"
_DERP_MAGIC: Final = "127.3.3.40:"

# A changed peer that differs in no other field is applied as a patch; `Hostinfo` also counts by presence.
_REPLACING: Final = (
    *("StableID", "Name", "User", "Sharer", "Machine", "Addresses", "AllowedIPs", "Created", "Tags"),
    *("PrimaryRoutes", "MachineAuthorized", "UnsignedPeerAPIOnly", "IsWireGuardOnly", "IsJailed", "Expired"),
    *("SelfNodeV4MasqAddrForThisPeer", "SelfNodeV6MasqAddrForThisPeer", "ExitNodeDNSResolvers"),
)
# Patch field to node field; the value replaces when it is present and not the first group's zero.
_PATCHED_IF_TRUE: Final = {"DERPRegion": "HomeDERP", "Cap": "Cap"}
_PATCHED_IF_PRESENT: Final = (
    *("Endpoints", "Key", "DiscoKey", "Online", "LastSeen", "KeyExpiry", "KeySignature", "CapMap"),
)
_REPLACED_WHOLE: Final = {
    "DNSConfig": "dns",
    "SSHPolicy": "ssh_policy",
    "Health": "health",
    "TKAInfo": "tka_info",
    "CollectServices": "collect_services",
}


class InitialMapIncomplete(Exception):
    """The first message of a poll lacked `Node`; a client ends the poll."""


@dataclass(slots=True)
class NetMap:
    """The state of one poll. `version` is the client's capability version."""

    version: int
    node: Json | None = None
    peers: dict[int, Json] = field(default_factory=dict)
    profiles: dict[int, Json] = field(default_factory=dict)
    derp_map: Json | None = None
    packet_filters: dict[str, list[Json]] = field(default_factory=dict)
    dns: Json | None = None
    ssh_policy: Json | None = None
    health: list[str] | None = None
    display_messages: dict[str, Json] = field(default_factory=dict)
    domain: str = ""
    tka_info: Json | None = None
    collect_services: bool | None = None
    control_time: str | None = None
    keep_alives: int = 0
    updates: int = 0

    @property
    def packet_filter(self) -> list[Json]:
        """The rules in effect: the named filters, one after the other, by name."""
        return [rule for name in sorted(self.packet_filters) for rule in self.packet_filters[name]]

    def peer_named(self, name: str) -> Json | None:
        """The peer whose name's first label is `name`."""
        matching = (one for one in self.peers.values() if one.get("Name", "").partition(".")[0] == name)
        return next(matching, None)

    def peer_with_key(self, node_key: str) -> Json | None:
        """The peer with this node key."""
        return next((one for one in self.peers.values() if one.get("Key") == node_key), None)

    def apply(self, message: Mapping[str, Any], *, now: str) -> None:
        """Take over one map response; `now` (RFC 3339) stands for seen peers. Raises InitialMapIncomplete."""
        if message.get("ControlTime"):
            self.control_time = message["ControlTime"]
        if message.get("KeepAlive"):
            self.keep_alives += 1
            return
        if self.node is None and not message.get("Node"):
            raise InitialMapIncomplete("the initial map response lacked a node")
        self.updates += 1
        self._apply_peers(message, now=now)
        if message.get("Node"):
            self.node = self._upgraded(message["Node"])
        for profile in message.get("UserProfiles") or ():
            self.profiles[profile["ID"]] = profile
        self._apply_derp_map(message.get("DERPMap"))
        self._apply_filters(message)
        for wire_name, attribute in _REPLACED_WHOLE.items():
            if message.get(wire_name) is not None:
                setattr(self, attribute, message[wire_name])
        _apply_named(self.display_messages, message.get("DisplayMessages"))
        self.domain = message.get("Domain") or self.domain

    def _apply_peers(self, message: Mapping[str, Any], *, now: str) -> None:
        """Peers exclusively, and only if there are any; else removed, changed, seen, online, patches."""
        if message.get("Peers"):
            full = [self._upgraded(peer) for peer in message["Peers"]]
            self.peers = {peer["ID"]: self._with_newer_disco(peer) for peer in full}
            return
        changed, patches = self._reduced(message)
        for node_id in message.get("PeersRemoved") or ():
            self.peers.pop(node_id, None)
        for peer in changed:
            self.peers[peer["ID"]] = peer
        for text, seen in (message.get("PeerSeenChange") or {}).items():
            self._change(int(text), {"LastSeen": now if seen else None})
        for text, online in (message.get("OnlineChange") or {}).items():
            self._change(int(text), {"Online": online})
        for patch in patches:
            self._change(patch.get("NodeID", 0), _patched_fields(patch))

    def _reduced(self, message: Mapping[str, Any]) -> tuple[list[Json], list[Json]]:
        """Changed peers that stay whole, and all patches that count: those of the message, then the reduced."""
        changed: list[Json] = []
        patches = list(message.get("PeersChangedPatch") or ())
        for peer in map(self._upgraded, message.get("PeersChanged") or ()):
            known = self.peers.get(peer["ID"])
            if known is None or not is_patchable(known, peer):
                changed.append(peer)
            elif patch := patch_between(known, peer):
                patches.append({"NodeID": peer["ID"], **patch})
        return changed, [patch for patch in patches if not self._is_stale(patch)]

    def _is_stale(self, patch: Json) -> bool:
        """A disco key that comes with offline and a last-seen that is no news is not believed."""
        known = self.peers.get(patch.get("NodeID", 0))
        complete = patch.get("DiscoKey") and patch.get("Online") is False and patch.get("LastSeen")
        if self.version < STALE_DISCO_VERSION or known is None or not complete or not known.get("LastSeen"):
            return False
        return not _is_later(patch["LastSeen"], known["LastSeen"])

    def _with_newer_disco(self, peer: Json) -> Json:
        """The same rule for a full list: the key is kept, the rest is taken."""
        known = self.peers.get(peer["ID"])
        if self.version < STALE_DISCO_VERSION or known is None or not peer.get("DiscoKey"):
            return peer
        same = known.get("DiscoKey") == peer["DiscoKey"]
        if same or peer.get("Online") or not known.get("LastSeen"):
            return peer
        if peer.get("LastSeen") and _is_later(peer["LastSeen"], known["LastSeen"]):
            return peer
        return {**peer, "DiscoKey": known.get("DiscoKey"), "LastSeen": known["LastSeen"]}

    def _change(self, node_id: int, fields: Json) -> None:
        """Set fields of a known peer, None clearing; an unknown peer is ignored."""
        known = self.peers.get(node_id)
        if known is not None:
            merged = {**known, **fields}
            self.peers[node_id] = {name: value for name, value in merged.items() if value is not None}

    def _upgraded(self, node: Json) -> Json:
        """The node in its present form: DERP as a number, AllowedIPs filled in."""
        upgraded = dict(node)
        legacy = upgraded.pop("DERP", "") or ""
        if not upgraded.get("HomeDERP") and legacy.startswith(_DERP_MAGIC):
            upgraded["HomeDERP"] = int(legacy.removeprefix(_DERP_MAGIC))
        if upgraded.get("AllowedIPs") is None and self.version >= ALLOWED_IPS_DEFAULT_VERSION:
            upgraded["AllowedIPs"] = list(upgraded.get("Addresses") or ())
        return upgraded

    def _apply_derp_map(self, new: Json | None) -> None:
        """Sub-fields that are absent keep their former value."""
        if new is None:
            return
        merged = dict(new)
        old = self.derp_map or {}
        if merged.get("Regions") is None:
            merged["Regions"] = old.get("Regions")
            merged["omitDefaultRegions"] = old.get("omitDefaultRegions", False)
        else:
            merged["Regions"] = {number: one for number, one in merged["Regions"].items() if one is not None}
        if merged.get("HomeParams") is None and old.get("HomeParams") is not None:
            merged["HomeParams"] = old["HomeParams"]
        self.derp_map = merged

    def _apply_filters(self, message: Mapping[str, Any]) -> None:
        """The one filter is the chunk `base`; named chunks replace, and null deletes."""
        if message.get("PacketFilter") is not None:
            self.packet_filters[BASE_FILTER] = message["PacketFilter"]
        _apply_named(self.packet_filters, message.get("PacketFilters"))


def is_patchable(known: Json, new: Json) -> bool:
    """Whether a Go client would apply `new` as a patch to the peer that it knows."""
    if ("Hostinfo" in known) != ("Hostinfo" in new) or known.get("Hostinfo") != new.get("Hostinfo"):
        return False
    return all((known.get(name) or None) == (new.get(name) or None) for name in _REPLACING)


def patch_between(known: Json, new: Json) -> Json:
    """The patch that a Go client makes of a changed peer; it loses what a patch cannot say."""
    patch: Json = {}
    for patch_name, name in _PATCHED_IF_TRUE.items():
        if new.get(name) and new[name] != known.get(name):
            patch[patch_name] = new[name]
    for name in ("Key", "DiscoKey", "Endpoints", "KeySignature"):
        if new.get(name) is not None and new[name] != known.get(name):
            patch[name] = new[name]
    for name in ("Online", "LastSeen"):
        if None not in (known.get(name), new.get(name)) and new[name] != known[name]:
            patch[name] = new[name]
    if new.get("KeyExpiry") != known.get("KeyExpiry"):
        patch["KeyExpiry"] = new.get("KeyExpiry")
    if (new.get("CapMap") or {}) != (known.get("CapMap") or {}):
        patch["CapMap"] = new.get("CapMap") or {}
    return patch


def _patched_fields(patch: Json) -> Json:
    fields = {name: patch[one] for one, name in _PATCHED_IF_TRUE.items() if patch.get(one)}
    fields |= {name: patch[name] for name in _PATCHED_IF_PRESENT if patch.get(name) is not None}
    if "KeyExpiry" in patch and patch["KeyExpiry"] is None:  # only a reduced peer says so
        fields["KeyExpiry"] = None
    return fields


def _apply_named(target: dict[str, Any], changes: Mapping[str, Any] | None) -> None:
    """Values replace, null deletes, and `*` with null first deletes all."""
    if changes is None:
        return
    if ALL in changes and changes[ALL] is None:
        target.clear()
    for name, value in changes.items():
        if name == ALL:
            continue
        if value is None:
            target.pop(name, None)
        else:
            target[name] = value


def _is_later(text: str, than: str) -> bool:
    return datetime.fromisoformat(text) > datetime.fromisoformat(than)
