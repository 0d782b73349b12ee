"""The map responses that a Go client got, as the server sent them, out of its log; and the netmap that results of each.

A client with TS_DEBUG_MAP=1 writes there every request, and every response once it is decoded, before it acts by it. So
they can be had from any server, over the real channel, without standing in the way. Responses are in Go's JSON.
Source: tailscale 1.80.3 and 1.102.4, control/controlclient/direct.go (encode, decodeMsg).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from harness.clients.netmap import InitialMapIncomplete, NetMap
from harness.masking import masked_value

Json = Mapping[str, Any]

_BLOCK: Final = re.compile(
    rb"^(?P<head>[^\n]{0,64}?)Map(?:Request: (?P<request>\{[^\n]*\})|Response: (?P<response>\{\n.*?^\}))\n",
    re.MULTILINE | re.DOTALL,
)
_BEGINNINGS: Final = (b"MapResponse: {", b"MapRequest: {")
_STAMP: Final = re.compile(r"(\d{4})/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d)")
_COUNTED: Final = {
    "Peers": "peers",
    "PeersChanged": "changed",
    "PeersRemoved": "removed",
    "PeersChangedPatch": "patched",
    "OnlineChange": "online or offline",
    "PeerSeenChange": "seen",
}
_PARTS: Final = {
    "Node": "self",
    "DNSConfig": "DNS",
    "PacketFilter": "packet filter",
    "PacketFilters": "packet filter",
    "DERPMap": "DERP map",
    "SSHPolicy": "SSH policy",
    "UserProfiles": "users",
    "PingRequest": "ping request",
    "Health": "health",
    "DisplayMessages": "messages",
}


@dataclass(frozen=True, slots=True)
class MapResponse:
    """One response. `netmap` is what a client has after it, for people: `of` says what is in it."""

    logged: datetime | None
    full: bool
    response: Json
    netmap: Json

    @property
    def kind(self) -> str:
        """The first of a poll, which stands alone, or a change."""
        return "full map" if self.full else "map delta"

    @property
    def fields(self) -> dict[str, Any]:
        """For a history: what the response speaks of, and whom the client knows now."""
        peers = [f"{peer['name']}{'' if peer['online'] else ' (offline)'}" for peer in self.netmap["peers"]]
        return {"says": changes(self.response), "peers": peers, "rules": len(self.netmap["rules"])}

    def line(self) -> str:
        """All of it as one line of JSON."""
        logged = self.logged.isoformat() if self.logged else None
        told = {"logged": logged, "kind": self.kind, "response": self.response, "netmap": self.netmap}
        return json.dumps(masked_value(told), ensure_ascii=False)


class MapLog:
    """Reads a log that grows. `responses` are all so far; keep-alives are left out."""

    def __init__(self, log: Path, *, version: int) -> None:
        self.responses: list[MapResponse] = []
        self._log = log
        self._version = version
        self._read_bytes = 0
        self._netmap = NetMap(version)
        self._begins = True

    def take(self) -> list[MapResponse]:
        """Those that are new. One that is only half written stays for the next time."""
        try:
            if self._log.stat().st_size <= self._read_bytes:
                return []
            with self._log.open("rb") as log:
                log.seek(self._read_bytes)
                text = log.read()
        except OSError:  # there is no log yet
            return []
        new, end = [], 0
        for found in _BLOCK.finditer(text):
            end = found.end()
            if found["request"] is not None:
                self._begins = self._begins or bool(json.loads(found["request"]).get("Stream"))
                continue
            response = json.loads(found["response"])
            if not response.get("KeepAlive"):
                new.append(self._applied(_time_of(found["head"].decode(errors="replace")), response))
        # A block that is half written is read again, with the line that it is on.
        whole = text.rfind(b"\n") + 1
        cut = [at for beginning in _BEGINNINGS if (at := text.find(beginning, end)) >= 0]
        self._read_bytes += min([whole, *(text.rfind(b"\n", 0, at) + 1 for at in cut)])
        self.responses += new
        return new

    def _applied(self, logged: datetime | None, response: dict[str, Any]) -> MapResponse:
        full, self._begins = self._begins, False
        if full:  # a poll begins with nothing known
            self._netmap = NetMap(self._version)
        try:
            now = (logged or datetime.now(UTC)).isoformat()
            self._netmap.apply(response, now=now)
        except (InitialMapIncomplete, KeyError, TypeError):
            pass  # a server's fault, which the response itself shows
        return MapResponse(logged, full, response, of(self._netmap))


def of(netmap: NetMap) -> dict[str, Any]:
    """A netmap for people: who the node is, its peers, and its packet filter's rules in a line each."""
    peers = sorted(netmap.peers.values(), key=lambda peer: str(peer.get("Name", "")))
    return {
        "self": _node(netmap.node or {}),
        "peers": [_node(peer) for peer in peers],
        "rules": [rule_in_words(rule) for rule in netmap.packet_filter],
    }


def changes(response: Json) -> str:
    """What a response speaks of."""
    told = [f"{len(response[name])} {word}" for name, word in _COUNTED.items() if response.get(name)]
    told += dict.fromkeys(word for name, word in _PARTS.items() if response.get(name) is not None)
    return ", ".join(told) or "nothing of the netmap"


def rule_in_words(rule: Json) -> str:
    """One packet filter rule: from whom, to what, by which protocols."""
    sources = ", ".join(rule.get("SrcIPs") or ("nobody",))
    grants = [
        cap for grant in rule.get("CapGrant") or () for cap in grant.get("CapMap") or grant.get("Caps") or ()
    ]
    targets = [
        f"{each.get('IP', '?')}:{_ports(each.get('Ports') or {})}" for each in rule.get("DstPorts") or ()
    ]
    targets += [f"capability {cap}" for cap in grants]
    protocols = ", ".join(str(number) for number in rule.get("IPProto") or ())
    return f"{sources} → {', '.join(targets) or 'nothing'}" + (
        f" (protocol {protocols})" if protocols else ""
    )


def _ports(ports: Json) -> str:
    first, last = ports.get("First", 0), ports.get("Last", 0)
    if (first, last) == (0, 65535):
        return "*"
    return str(first) if first == last else f"{first}-{last}"


def _node(node: Json) -> dict[str, Any]:
    addresses = list(node.get("Addresses") or ())
    allowed = [prefix for prefix in node.get("AllowedIPs") or () if prefix not in addresses]
    return {
        "name": str(node.get("Name", "")).partition(".")[0],
        "addresses": [str(address).partition("/")[0] for address in addresses],
        "online": bool(node.get("Online", False)),
        "tags": list(node.get("Tags") or ()),
        "routes": allowed,
    }


def _time_of(text: str) -> datetime | None:
    found = _STAMP.search(text)
    return datetime(*map(int, found.groups()), tzinfo=UTC) if found else None  # type: ignore[arg-type, misc]
