"""What a tailnet looks like, with everything taken out in which two sound servers may differ.

Keys, numbers and addresses are replaced by whose they are, times by whether there are any. Left out is what no control
server decides: endpoints, ports of clients' own services, and the relays, which are the harness's. Lists whose order
means nothing are sorted.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from harness.servers.base import ServerNode

Json = Any
NOT_THE_SERVERS: Final = frozenset({"Endpoints", "DERPMap", "DERP", "PrivateKey", "Cached", "DiscoKey"})
# What clients take over from a patch, and show in their netmap only after the next whole peer (1.80.3 and 1.102.4).
SHOWN_LATE: Final = frozenset({"HomeDERP", "LastSeen", "Online"})
LEFT_OUT: Final = NOT_THE_SERVERS | SHOWN_LATE
TIMES: Final = frozenset({"Created", "KeyExpiry", "Expiry"})
ORDERED: Final = frozenset({"rules", "Resolvers", "FallbackResolvers", "Domains"})
NO_TIME: Final = "0001-01-01T00:00:00Z"
_LITERAL: Final = re.compile(r"[0-9a-fA-F.:]{3,}")


@dataclass(frozen=True, slots=True)
class Names:
    """What stands for whose: addresses and keys by text, numbers of nodes and of users."""

    texts: Mapping[str, str]
    nodes: Mapping[str, str]
    users: Mapping[str, str]
    host: str = ""

    def text(self, text: str) -> str:
        """The text with names in it. Prefixes and ranges are of literals, each replaced by itself."""
        if text in self.texts:
            return self.texts[text]
        named = _LITERAL.sub(lambda found: self.texts.get(found[0], found[0]), text)
        return named.replace(self.host, "<server>") if self.host else named


@dataclass(frozen=True, slots=True)
class Look:
    """All that one side shows at a moment: clients' netmaps and reach by client, and the administrator's list."""

    netmaps: Mapping[str, Json]
    nodes: Json
    reach: Mapping[str, bool] = field(default_factory=dict)

    def plain(self) -> Json:
        """As one document, to be compared."""
        return {"netmap": self.netmaps, "nodes": self.nodes, "reach": self.reach}


def names_of(
    nodes: Sequence[ServerNode], clients: Mapping[str, str], netmaps: Iterable[Json], *, host: str
) -> Names:
    """`clients` are the scenario's names by node number; `host` is the server's address."""
    texts: dict[str, str] = {}
    for node in nodes:
        name = clients.get(node.id, node.given_name)
        texts[node.node_key] = f"<key of {name}>"
        for address in node.addresses:
            texts[address] = f"<IPv{6 if ':' in address else 4} of {name}>"
    users: dict[str, str] = {}
    for netmap in netmaps:
        for number, profile in (netmap.get("UserProfiles") or {}).items():
            users[str(number)] = str(profile.get("LoginName") or "").partition("@")[0]
        for shown in (netmap.get("SelfNode") or {}, *(netmap.get("Peers") or ())):
            name = clients.get(str(shown.get("ID")), str(shown.get("Name")))
            texts |= {str(shown[kind]): f"<{kind} of {name}>" for kind in ("Key", "Machine") if kind in shown}
    return Names(texts, dict(clients), users, host)


def plain_netmap(netmap: Json, names: Names, online: Iterable[str]) -> Json:
    """A client's netmap, peers and profiles by name. `online` are the numbers of peers that it knows to be online."""
    shown = {key: value for key, value in netmap.items() if key not in ("Peers", "UserProfiles")}
    peers = {
        names.nodes.get(str(peer["ID"]), str(peer.get("Name"))): _plain(peer, names)
        for peer in netmap.get("Peers") or ()
    }
    profiles = {
        names.users.get(str(number), str(number)): _plain(profile, names)
        for number, profile in (netmap.get("UserProfiles") or {}).items()
    }
    here = sorted(names.nodes.get(number, number) for number in online)
    return {**_plain(shown, names), "Peers": peers, "UserProfiles": profiles, "online": here}


def plain_nodes(nodes: Sequence[ServerNode], names: Names) -> Json:
    """The administrator's list, by name. Who owns tagged nodes is shown by servers as they like."""
    return {
        names.nodes.get(node.id, node.given_name): {
            "given_name": node.given_name,
            "hostname": node.hostname,
            "user": "" if node.tags else node.user,
            "addresses": sorted(map(names.text, node.addresses)),
            "online": node.online,
            "tags": sorted(node.tags),
            "routes": sorted(node.routes),
            **({"serving": sorted(node.served)} if node.served is not None else {}),
        }
        for node in nodes
    }


def _plain(value: Json, names: Names, key: str = "") -> Json:
    match value:
        case dict():
            return {
                names.text(name): _plain(each, names, name)
                for name, each in value.items()
                if name not in LEFT_OUT and not _says_nothing(name, each)
            }
        case list():
            if key == "Services":
                return sorted(each["Proto"] for each in value)
            found = [_plain(each, names, key) for each in value]
            return (
                found if key in ORDERED else sorted(found, key=lambda each: json.dumps(each, sort_keys=True))
            )
        case str():
            return "<time>" if key in TIMES else names.text(value)
        case int() if key in ("ID", "User") and not isinstance(value, bool):
            return (names.nodes if key == "ID" else names.users).get(str(value), f"<{key} nobody has>")
    return value


def _says_nothing(name: str, value: Json) -> bool:
    """Absent, null, empty and the time that stands for none are the same to every client."""
    is_number_of_profile = name == "StableID"
    return value in (None, [], {}, "", NO_TIME) or is_number_of_profile
