"""What the debug pages say, page by page, as documents; how they look is `html`'s.

Each is made from what the server holds when it is asked. Nothing here is a secret: of credentials there are the masked
forms that the API shows, of a login that waits its beginning, of tasks where they are and never what they hold.
"""

import asyncio
import gc
import os
import platform
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headscale import __version__
from headscale.config.dump import effective
from headscale.errors import Malformed
from headscale.login.pending import PREFIX
from headscale.mapper.view import packet_filter, peers_of, ssh_policy
from headscale.monitoring.metrics import state_of
from headscale.monitoring.overview import overview_of
from headscale.monitoring.vitals import Vitals, node_called
from headscale.records import Node
from headscale.state.routes import in_force

# What the newest clients speak; a map for another version is asked for with ?version=.
MAP_VERSION: Final = 142
NODES_LISTED: Final = 500
Document = Mapping[str, Any]


def overview(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """Everything on one screen."""
    document: Document = _plain(overview_of(vitals))
    return document


def config(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """The configuration in force, secrets masked."""
    return {"source": str(vitals.config.source or ""), "config": effective(vitals.config)}


def policy(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """The policy's text as it was set."""
    row = vitals.snapshot.policy_text
    return {
        "mode": vitals.config.policy.mode.value,
        "problem": vitals.snapshot.policy_problem,
        "id": row.id if row else None,
        "setAt": row.created_at.isoformat() if row else None,
        "policy": row.text if row else "",
    }


def filters(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """The packet filter of a node; without ?node= the nodes that there are."""
    if "node" not in query:
        return _choice(vitals)
    node = node_called(vitals.snapshot, query["node"])
    return {"node": _name(node), "filter": _plain(packet_filter(vitals.snapshot, node.id))}


def ssh(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """Who may log in to a node by SSH; without ?node= the nodes that there are."""
    if "node" not in query:
        return _choice(vitals)
    node = node_called(vitals.snapshot, query["node"])
    return {"node": _name(node), "ssh": _plain(ssh_policy(vitals.snapshot, node.id))}


def derp(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """The relay map that clients are told."""
    relay = vitals.relay
    own = (
        {"connections": relay.connections, "clients": relay.clients, "waitingPackets": relay.waiting}
        if relay
        else None
    )
    return {"embedded": own, "map": _plain(vitals.snapshot.derp_map)}


def nodestore(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """Every node as the server holds it."""
    snapshot = vitals.snapshot
    nodes = [_node(vitals, node) for node in sorted(snapshot.nodes.values(), key=lambda n: n.id)]
    return {"epoch": snapshot.epoch, "total": len(nodes), "nodes": nodes}


def registration_cache(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """The logins that wait, and the limits that are in force."""
    now = vitals.clock.monotonic()
    return {
        "lifetimeSeconds": vitals.config.login_lifetime.total_seconds(),
        "maxEntries": vitals.config.logins_max,
        "waiting": len(vitals.logins),
        "logins": [
            {
                "id": login.id[: len(PREFIX) + 4] + "…",
                "hostname": login.request.hostinfo.hostname if login.request.hostinfo else "",
                "source": login.source,
                "lapsesInSeconds": round(login.lapses_at - now),
            }
            for login in vitals.logins.waiting
        ],
    }


def routes(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """Which routes there are, who has them in force, and who is primary."""
    snapshot = vitals.snapshot
    served = [
        {
            "route": str(route),
            "primary": _name_of(vitals, snapshot.primaries.get(route, 0)),
            "routers": [_name_of(vitals, node_id) for node_id in sorted(routers)],
            "silent": [_name_of(vitals, node_id) for node_id in sorted(routers & snapshot.silent)],
            "steered": {
                tag: _name_of(vitals, favourite.node_id)
                for (of, tag), favourite in sorted(snapshot.favourites.items(), key=lambda item: item[0][1])
                if of == route
            },
        }
        for route, routers in sorted(snapshot.routers.items(), key=lambda item: str(item[0]))
    ]
    of_nodes = [
        {
            "node": _name(node),
            "advertised": node.hostinfo.routable_ips,
            "approved": node.approved_routes,
            "inForce": [str(route) for route in in_force(node)],
        }
        for node in snapshot.nodes.values()
        if node.hostinfo.routable_ips or node.approved_routes
    ]
    return {"served": served, "nodes": of_nodes}


def policy_manager(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """What became of the policy: how many rules, for whom, and since which change."""
    compiled = vitals.snapshot.policy
    document = compiled.document
    rules = (
        {}
        if document is None
        else {
            "acls": len(document.acls),
            "grants": len(document.grants),
            "ssh": len(document.ssh),
            "groups": len(document.groups),
            "tagOwners": len(document.tag_owners),
            "hosts": len(document.hosts),
            "tests": len(document.tests),
        }
    )
    return {
        "isOpen": document is None,
        "problem": vitals.snapshot.policy_problem,
        "policyEpoch": vitals.snapshot.policy_epoch,
        "rules": rules,
        "people": len(compiled.people),
        "nodes": len(compiled.subjects),
    }


def mapresponses(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """The full map that a node's client would be sent now; without ?node= the nodes that there are."""
    if "node" not in query:
        return _choice(vitals)
    node = node_called(vitals.snapshot, query["node"])
    version = query.get("version", "") or str(node.cap_version or MAP_VERSION)
    if not version.isascii() or not version.isdecimal() or len(version) > 6:
        raise Malformed(f"version: {version[:20]!r} is not a capability version")
    full = vitals.fanout.full_map(node, version=int(version))
    document = msgspec.json.decode(msgspec.json.encode(full))
    return {"node": _name(node), "version": int(version), "peers": len(full.peers), "map": document}


def batcher(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """The open streams, and what waits."""
    snapshot, now = vitals.snapshot, vitals.clock.monotonic()
    listed = [
        {
            "node": _name_of(vitals, stream.node_id),
            "version": stream.version,
            "compress": stream.compress,
            "behind": snapshot.epoch - stream.sent.epoch if stream.sent is not None else None,
            "writable": stream.sink.writable,
            "stuckSeconds": round(now - stream.stuck_since) if stream.stuck_since is not None else 0,
            "keepAliveInSeconds": round(stream.keep_alive_at - now),
        }
        for stream in [*vitals.fanout.streams]
    ]
    return {"queues": _plain(overview_of(vitals, nodes=0).queues), "epoch": snapshot.epoch, "streams": listed}


def tasks(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """What the server's tasks and threads are doing: names and places, innermost last."""
    running = [
        {"name": task.get_name(), "stack": _places(task.get_stack(limit=20))} for task in asyncio.all_tasks()
    ]
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    threads = [
        {"name": names.get(ident, str(ident)), "stack": _thread_places(frame)}
        for ident, frame in sys._current_frames().items()
    ]
    return {"tasks": sorted(running, key=lambda one: str(one["name"])), "threads": threads}


def variables(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """The process: versions, memory, files."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "pid": os.getpid(),
        "startedAt": vitals.snapshot.started_at.isoformat(),
        "residentBytes": _resident_bytes(),
        "openFiles": len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else None,
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
    }


def collector(vitals: Vitals, query: Mapping[str, str]) -> Document:
    """Python's garbage collector: thresholds, and what each generation found."""
    return {
        "enabled": gc.isenabled(),
        "threshold": list(gc.get_threshold()),
        "count": list(gc.get_count()),
        "frozen": gc.get_freeze_count(),
        "generations": gc.get_stats(),
    }


# ---- pieces


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, str_keys=True)


def _choice(vitals: Vitals) -> Document:
    """The nodes that a page can be asked for; of a large tailnet the first."""
    nodes = sorted(vitals.snapshot.nodes.values(), key=lambda node: node.id)
    return {
        "hint": "add ?node= with an id, an address or a name",
        "total": len(nodes),
        "nodes": [{"id": str(node.id), "name": node.given_name} for node in nodes[:NODES_LISTED]],
    }


def _name(node: Node) -> str:
    return f"{node.given_name} (ID {node.id})"


def _name_of(vitals: Vitals, node_id: int) -> str | None:
    node = vitals.snapshot.nodes.get(node_id)
    return _name(node) if node is not None else None


def _node(vitals: Vitals, node: Node) -> Document:
    visit = vitals.sessions.of(node.id)
    return {
        "id": str(node.id),
        "givenName": node.given_name,
        "hostname": node.hostname,
        "state": state_of(node),
        "user": str(node.user_id) if node.user_id else None,
        "tags": node.tags,
        "addresses": [str(address) for address in node.addresses],
        "machineKey": node.machine_key,
        "nodeKey": node.node_key,
        "discoKey": node.disco_key,
        "endpoints": node.endpoints,
        "homeDerp": node.home_derp,
        "routes": node.hostinfo.routable_ips,
        "approvedRoutes": node.approved_routes,
        "os": node.hostinfo.os,
        "clientVersion": node.hostinfo.ipn_version,
        "capabilityVersion": node.cap_version,
        "ephemeral": node.ephemeral,
        "authorized": node.authorized,
        "expiry": node.expiry.isoformat() if node.expiry else None,
        "lastSeen": node.last_seen.isoformat() if node.last_seen else None,
        "connectedSince": visit.since.isoformat() if visit else None,
        "remote": visit.remote if visit else None,
        "ended": visit.ending.value if visit and visit.ending else None,
        "peers": len(peers_of(vitals.snapshot, node.id))
        if len(vitals.snapshot.nodes) <= NODES_LISTED
        else None,
    }


def _thread_places(frame: Any) -> list[str]:
    """Where a thread is."""
    return [
        f"{entry.filename}:{entry.lineno} {entry.name}" for entry in traceback.extract_stack(frame, limit=20)
    ]


def _places(frames: list[Any]) -> list[str]:
    return [f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}" for frame in frames]


def _resident_bytes() -> int | None:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
