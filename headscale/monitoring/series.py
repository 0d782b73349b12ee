"""The series that there are for each node, as Prometheus' text format has them.

A tailnet may have 10,000 nodes with nine series each, and a scrape every few seconds. Nearly all of them say what they
said before, so a node's lines are kept for as long as its record (a frozen value) is the same object.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from headscale.records import TAGGED_LOGIN, Node, RegisterMethod, User
from headscale.state.routes import in_force
from headscale.state.snapshot import Snapshot

# Names and labels are those of tailscale-exporter, whose dashboards people have.
FAMILIES: Final[Mapping[str, str]] = {
    "headscale_nodes_info": "A node; always 1",
    "headscale_nodes_online": "Whether the node is connected",
    "headscale_nodes_created_timestamp": "When the node joined, in Unix seconds",
    "headscale_nodes_last_seen_timestamp": "When the node was seen last, in Unix seconds",
    "headscale_nodes_expiry_timestamp": "When the node's key ends, in Unix seconds; absent for never",
    "headscale_nodes_available_routes": "How many routes the node advertises",
    "headscale_nodes_approved_routes": "How many of its routes are approved",
    "headscale_nodes_subnet_routes": "How many of its routes are in force",
    "headscale_nodes_tags": "How many tags the node has",
}

# As the API has them.
METHODS: Final = {
    RegisterMethod.AUTH_KEY: "REGISTER_METHOD_AUTH_KEY",
    RegisterMethod.CLI: "REGISTER_METHOD_CLI",
    RegisterMethod.OIDC: "REGISTER_METHOD_OIDC",
    RegisterMethod.CONFIG: "REGISTER_METHOD_UNSPECIFIED",
}
_Lines = tuple[str, ...]


class NodeSeries:
    """Renders all nodes of one server. Not for several threads at a time."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Node, User | None, _Lines]] = {}

    def render(self, snapshot: Snapshot) -> str:
        """The families, one after the other."""
        known, users = self._known, snapshot.users
        fresh: dict[int, tuple[Node, User | None, _Lines]] = {}
        for node_id, node in snapshot.nodes.items():
            user = users.get(node.user_id) if node.user_id is not None else None
            entry = known.get(node_id)
            if entry is None or entry[0] is not node or entry[1] is not user:
                entry = (node, user, tuple(_lines(node, user)))
            fresh[node_id] = entry
        self._known = fresh
        columns = zip(*(lines for _, _, lines in fresh.values()), strict=True) if fresh else ()
        families: Mapping[str, _Lines] = dict(zip(FAMILIES, columns, strict=False))
        return "".join(
            f"# HELP {name} {help_text}\n# TYPE {name} gauge\n{''.join(families.get(name, ()))}"
            for name, help_text in FAMILIES.items()
        )


def _lines(node: Node, user: User | None) -> Iterator[str]:
    """A line for each family, in their order; empty where the node has no such value."""
    login = _escaped(user.name or user.login) if user is not None else TAGGED_LOGIN
    name, given = _escaped(node.hostname), _escaped(node.given_name)
    labels = f'id="{node.id}",name="{name}",user="{login}"'
    keys = f'machine_key="{node.machine_key}",node_key="{node.node_key}",disco_key="{node.disco_key}"'
    more = f'user_id="{node.user_id or ""}",given_name="{given}",register_method="{METHODS[node.register_method]}"'
    yield f"headscale_nodes_info{{{labels},{more},{keys}}} 1\n"
    yield f"headscale_nodes_online{{{labels}}} {int(node.online)}\n"
    yield _time("headscale_nodes_created_timestamp", labels, node.created_at)
    yield _time("headscale_nodes_last_seen_timestamp", labels, node.last_seen)
    yield _time("headscale_nodes_expiry_timestamp", labels, node.expiry)
    yield f"headscale_nodes_available_routes{{{labels}}} {len(node.hostinfo.routable_ips)}\n"
    yield f"headscale_nodes_approved_routes{{{labels}}} {len(node.approved_routes)}\n"
    yield f"headscale_nodes_subnet_routes{{{labels}}} {len(in_force(node))}\n"
    yield f'headscale_nodes_tags{{{labels},category="forced"}} {len(node.tags)}\n'


def _time(name: str, labels: str, moment: datetime | None) -> str:
    return f"{name}{{{labels}}} {moment.timestamp():.3f}\n" if moment is not None else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
