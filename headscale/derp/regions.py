"""Which DERP map clients get: the embedded region, maps from files and URLs, and what old clients need.

Pure: the text of each source comes in, values go out. Sources are merged by region ID, a later one wins, the
embedded region wins its ID. A region that a source sets to null is removed (headscale 0.29 documents that but
skips the null).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from ipaddress import IPv4Address, IPv6Address, ip_address
from math import isfinite
from typing import Any, Final

import msgspec
from msgspec.structs import fields, replace
from ruamel.yaml import YAML

from headscale.errors import Malformed
from headscale.tailcfg.derpmap import (
    MIN_REGION_ID,
    NO_ADDRESS,
    PIN_PREFIX,
    STUN_PORT_OFF,
    DERPMap,
    DERPNode,
    DERPRegion,
)

# Clients before 111 learn a peer's home from the port in "127.3.3.40:<region>".
MAX_REGION_ID: Final = 65_535
MAX_PORT: Final = 65_535
# From this capability version on (client 1.82) nodes may be pinned and regions may be NoMeasureNoHome
# (tailcfg.go 1.102.4: "115 ... NoMeasureNoHome"; derphttp_client.go: sha256-raw in 1.82.5, not in 1.80.3).
PINS_SINCE: Final = 115
# Tailscale's own map has 40 kB; anything near this is not a map.
MAX_SOURCE_BYTES: Final = 4 * 1024 * 1024

# One source: its regions by ID, None for a region to remove.
Regions = Mapping[int, DERPRegion | None]


@dataclass(frozen=True, slots=True)
class EmbeddedRegion:
    """The relay inside this server. `host` is a name or an IP address; `stun_port` None when STUN is off.

    `cert_pin` is `headscale.tls.pin` of a self-signed certificate; None when clients know its issuer.
    """

    region_id: int
    code: str
    name: str
    host: str
    derp_port: int
    stun_port: int | None
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    cert_pin: str | None = None
    can_port80: bool = False


def embedded_region(settings: EmbeddedRegion) -> DERPRegion:
    """The region of one node that clients are sent for the embedded relay; raises Malformed.

    When the host is an IP address, clients must not look for one of the other family in the DNS.
    """
    ipv4, ipv6 = str(settings.ipv4 or ""), str(settings.ipv6 or "")
    match _address(settings.host):
        case IPv4Address() as address:
            ipv4, ipv6 = ipv4 or str(address), ipv6 or NO_ADDRESS
        case IPv6Address() as address:
            ipv4, ipv6 = ipv4 or NO_ADDRESS, ipv6 or str(address)
    node = DERPNode(
        name=str(settings.region_id),
        region_id=settings.region_id,
        host_name=settings.host,
        cert_name=settings.cert_pin or "",
        ipv4=ipv4,
        ipv6=ipv6,
        stun_port=STUN_PORT_OFF if settings.stun_port is None else settings.stun_port,
        derp_port=settings.derp_port,
        can_port80=settings.can_port80,
    )
    return _checked(
        DERPRegion(
            region_id=settings.region_id,
            region_code=settings.code,
            region_name=settings.name,
            nodes=(node,),
        )
    )


def parse_json(text: bytes) -> Regions:
    """A map as Tailscale's control plane serves it; raises Malformed."""
    _check_size(text)
    try:
        return _regions(msgspec.json.decode(text))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"not a DERP map: {error}") from error


def parse_yaml(text: bytes) -> Regions:
    """A map as operators write it, with field names in lower case; raises Malformed."""
    _check_size(text)
    try:
        document = YAML(typ="safe", pure=True).load(StringIO(text.decode()))
    except (
        Exception
    ) as error:  # besides its own, ruamel raises what Python does: TypeError for a mapping as a key
        raise Malformed(f"not a DERP map: {error}") from error
    try:
        return _regions(document)
    except RecursionError as error:  # an alias may stand for what holds it
        raise Malformed("not a DERP map: it contains itself") from error


def parse(text: bytes) -> Regions:
    """A map in a file, in either form; raises Malformed.

    JSON is not quite YAML (a tab may stand before a value), so what begins as an object is read as JSON first.
    """
    if text.lstrip().startswith(b"{"):
        try:
            return _regions(msgspec.json.decode(text))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            pass  # a flow mapping of YAML, or wrong in both: YAML's complaint has the line
    return parse_yaml(text)


def merge(sources: Iterable[Regions], *, embedded: DERPRegion | None = None) -> DERPMap:
    """One map of all regions, in order of their IDs; a later source wins, the embedded region wins its ID."""
    merged: dict[int, DERPRegion | None] = {}
    for source in sources:
        merged.update(source)
    if embedded is not None:
        merged[embedded.region_id] = embedded
    return DERPMap(
        regions={region_id: region for region_id, region in sorted(merged.items()) if region is not None}
    )


def spread(derp_map: DERPMap, *, tailnet: str) -> DERPMap:
    """Order each region's nodes by a hash of tailnet and node name.

    Clients connect to the first that answers: all nodes of a tailnet must meet at the same one, and different
    tailnets at different ones.
    """

    def rank(node: DERPNode) -> bytes:
        return hashlib.sha256(f"{tailnet}\0{node.name}".encode()).digest()

    return replace(
        derp_map,
        regions={
            region_id: replace(region, nodes=tuple(sorted(region.nodes, key=rank)))
            for region_id, region in derp_map.regions.items()
        },
    )


def hosts_of(derp_map: DERPMap) -> list[str]:
    """The names of relays that a client has to resolve."""
    nodes = (node for region in derp_map.regions.values() for node in region.nodes)
    return sorted({node.host_name for node in nodes if _address(node.host_name) is None})


def for_client(derp_map: DERPMap, capver: int) -> DERPMap:
    """The map as this client can use it.

    A client before PINS_SINCE takes a pin for a host name that no certificate has, so it could not connect at
    all: it is told to skip verification instead. What it relays stays sealed by WireGuard; docs/derp.md.
    It also knows only `Avoid` for a region that it should not make its home.

    Later clients get both: in Go's the pin decides, whatever else is said; tailscale-rs 0.6.1, which announces
    130, has no pins, and takes such a relay only if built with `insecure-derp` and told to skip verification.
    """
    change = _for_old if capver < PINS_SINCE else _for_new
    return replace(derp_map, regions={key: change(region) for key, region in derp_map.regions.items()})


def _for_old(region: DERPRegion) -> DERPRegion:
    nodes = tuple(
        replace(node, cert_name="", insecure_for_tests=True)
        if node.cert_name.startswith(PIN_PREFIX)
        else node
        for node in region.nodes
    )
    return replace(region, nodes=nodes, avoid=region.avoid or region.no_measure_no_home)


def _for_new(region: DERPRegion) -> DERPRegion:
    nodes = tuple(
        replace(node, insecure_for_tests=True) if node.cert_name.startswith(PIN_PREFIX) else node
        for node in region.nodes
    )
    return replace(region, nodes=nodes)


def _regions(document: object) -> Regions:
    """The regions of a decoded map. Field names match in any case: Go's JSON and YAML differ in nothing else."""
    regions = _fields(document, "the map").get("regions")
    if not isinstance(regions, dict):
        raise Malformed("a DERP map has an object of regions")
    return {_region_id(key): _region(_region_id(key), value) for key, value in regions.items()}


def _region(region_id: int, value: object) -> DERPRegion | None:
    if value is None:
        return None
    where = f"region {region_id}"
    given = {"regionid": region_id, **_fields(value, where)}
    nodes = given.pop("nodes", [])
    if not isinstance(nodes, list):
        raise Malformed(f"{where}: nodes is a list")
    given["nodes"] = [_wire_names({"regionid": region_id, **_fields(n, where)}, DERPNode) for n in nodes]
    try:
        region = msgspec.convert(_wire_names(given, DERPRegion), type=DERPRegion)
    except msgspec.ValidationError as error:
        raise Malformed(f"{where}: {error}") from error
    if {region.region_id, *(node.region_id for node in region.nodes)} != {region_id}:
        raise Malformed(f"{where}: the region and all its nodes must have the RegionID {region_id}")
    return _checked(region)


def _checked(region: DERPRegion) -> DERPRegion:
    """The region, if clients can make sense of its values; raises Malformed."""
    _region_id(region.region_id)
    if not (isfinite(region.latitude) and isfinite(region.longitude)):  # JSON has no other numbers
        raise Malformed(f"region {region.region_id}: latitude and longitude are numbers of degrees")
    for node in region.nodes:
        where = f"region {region.region_id}, node {node.name!r}"
        if not node.host_name:
            raise Malformed(f"{where}: no HostName")
        if not STUN_PORT_OFF <= node.stun_port <= MAX_PORT or not 0 <= node.derp_port <= MAX_PORT:
            raise Malformed(f"{where}: a port is not between 0 and {MAX_PORT} (-1 for no STUN)")
        for text, family in ((node.ipv4, IPv4Address), (node.ipv6, IPv6Address)):
            if text not in ("", NO_ADDRESS) and not isinstance(_address(text), family):
                raise Malformed(f"{where}: {text!r} is neither an {family.__name__} nor {NO_ADDRESS!r}")
    return region


def _region_id(key: object) -> int:
    number = int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() else key
    if type(number) is not int or not MIN_REGION_ID <= number <= MAX_REGION_ID:
        raise Malformed(f"a region ID is between {MIN_REGION_ID} and {MAX_REGION_ID}, got {str(key)[:20]!r}")
    return number


def _fields(value: object, where: str) -> dict[str, Any]:
    """An object's members under lower-case names, without those that are null."""
    if not isinstance(value, dict):
        raise Malformed(f"{where} is not an object")
    return {str(name).lower(): member for name, member in value.items() if member is not None}


def _wire_names(given: dict[str, Any], kind: type[DERPNode | DERPRegion]) -> dict[str, Any]:
    """Lower-case names to the wire's spelling; names that are not the struct's are left out."""
    known = {field.encode_name.lower(): field.encode_name for field in fields(kind)}
    return {known[name]: value for name, value in given.items() if name in known}


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _check_size(text: bytes) -> None:
    if len(text) > MAX_SOURCE_BYTES:
        raise Malformed(f"a DERP map of more than {MAX_SOURCE_BYTES} bytes")
