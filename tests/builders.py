"""Small tailnets for tests of the cores: a snapshot with users, keys and nodes in one call each."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar

from headscale.keys import ZERO_DISCO_KEY, MachineKey, NodeKey, machine_key, node_key
from headscale.records import Node, PreAuthKey, TailnetSettings, User
from headscale.state.credentials import KeySecret, create_key, draw_secret
from headscale.state.effect import Effect, Moment
from headscale.state.register import Request, register
from headscale.state.snapshot import Snapshot, put_node, put_user
from headscale.state.users import create_user
from headscale.tailcfg.derpmap import DERPMap
from headscale.tailcfg.hostinfo import Hostinfo

T = TypeVar("T")

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SETTINGS = TailnetSettings(server_url="http://127.0.0.1:8080")


def moment(now: datetime = NOW) -> Moment:
    """A moment whose die always shows the highest number."""
    return Moment(now, lambda sides: sides - 1)


def tailnet(*user_names: str, settings: TailnetSettings = SETTINGS) -> Snapshot:
    """A tailnet with these users, numbered from 1."""
    snapshot = Snapshot(settings=settings, derp_map=DERPMap(regions={}))
    for name in user_names:
        snapshot = create_user(snapshot, moment(), name=name).snapshot
    return snapshot


def mkey(number: int) -> MachineKey:
    """The machine key of this number."""
    return machine_key(number.to_bytes(32, "big"))


def nkey(number: int) -> NodeKey:
    """The node key of this number."""
    return node_key((number + 1_000_000).to_bytes(32, "big"))


def secret(number: int) -> KeySecret:
    """The pre-auth key secret of this number."""
    return draw_secret(number.to_bytes(38, "little"))


def with_key(
    snapshot: Snapshot, number: int = 1, *, user_id: int | None = 1, **kind: Any
) -> tuple[Snapshot, PreAuthKey, str]:
    """The tailnet with a pre-auth key of this number: the key and its text."""
    drawn = secret(number)
    effect = create_key(snapshot, moment(), secret=drawn, user_id=user_id, **kind)
    return effect.snapshot, effect.result, drawn.reveal()


def request(number: int = 1, *, auth_key: str = "", node: NodeKey | None = None, **more: Any) -> Request:
    """A registration of the machine with this number, by default with the node key of the same number."""
    more.setdefault("hostinfo", Hostinfo(hostname=f"host{number}"))
    return Request(
        machine_key=mkey(number), node_key=node or nkey(number), auth_key=auth_key, version=142, **more
    )


def registered(snapshot: Snapshot, wanted: Request, now: datetime = NOW) -> Effect[Any]:
    """Run a registration."""
    return register(snapshot, moment(now), request=wanted)


def node(number: int, **more: Any) -> Node:
    """A node of user 1 with addresses of its number."""
    values: dict[str, Any] = {
        "id": number,
        "machine_key": mkey(number),
        "node_key": nkey(number),
        "disco_key": ZERO_DISCO_KEY,
        "hostname": f"host{number}",
        "given_name": f"host{number}",
        "ipv4": IPv4Address(f"100.64.0.{number}"),
        "ipv6": IPv6Address(f"fd7a:115c:a1e0::{number:x}"),
        "user_id": 1,
        "created_at": NOW,
        "cap_version": 142,
    }
    return Node(**(values | more))


def with_nodes(snapshot: Snapshot, *nodes: Node) -> Snapshot:
    """The tailnet with these nodes."""
    for each in nodes:
        snapshot = put_node(snapshot, each)
    return snapshot


def with_user(snapshot: Snapshot, user: User, **changes: Any) -> Snapshot:
    """The tailnet with a changed user."""
    return put_user(snapshot, replace(user, **changes))
