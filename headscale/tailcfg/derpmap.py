"""The DERP map on the wire: which relays there are and how to reach them.

Keys as Go writes them (`omitDefaultRegions` alone starts in lower case); what is absent is left out, never
null. RegionID, RegionCode, RegionName and Nodes are always there, because tailscale-rs demands them.
Source: tailscale v1.102.4, tailcfg/derpmap.go; tailscale-rs 0.5.0.
"""

from typing import Final

import msgspec

MIN_REGION_ID: Final = 1

STUN_PORT_OFF: Final = -1
NO_ADDRESS: Final = "none"
# A certificate name that stands for one certificate: the hex of the SHA-256 of its DER follows.
PIN_PREFIX: Final = "sha256-raw:"


class DERPNode(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """One relay. Ports of 0 mean 3478 for STUN and 443 for DERP; an address of "" means ask the DNS."""

    name: str
    region_id: int = msgspec.field(name="RegionID")
    host_name: str
    cert_name: str = ""
    ipv4: str = msgspec.field(default="", name="IPv4")
    ipv6: str = msgspec.field(default="", name="IPv6")
    stun_port: int = msgspec.field(default=0, name="STUNPort")
    stun_only: bool = msgspec.field(default=False, name="STUNOnly")
    derp_port: int = msgspec.field(default=0, name="DERPPort")
    insecure_for_tests: bool = False
    stun_test_ip: str = msgspec.field(default="", name="STUNTestIP")
    can_port80: bool = msgspec.field(default=False, name="CanPort80")


class DERPRegion(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """Relays that stand together. `nodes` in order of preference."""

    region_id: int = msgspec.field(name="RegionID")
    region_code: str
    region_name: str
    latitude: float = 0.0
    longitude: float = 0.0
    avoid: bool = False
    no_measure_no_home: bool = False
    nodes: tuple[DERPNode, ...]


class DERPHomeParams(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """How to choose a home: a factor on the measured latency for each region (1.0 when not listed)."""

    region_score: dict[int, float] = {}


class DERPMap(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """Every region by its ID. A client that is sent no map keeps the one it has."""

    home_params: DERPHomeParams | None = None
    regions: dict[int, DERPRegion]
    omit_default_regions: bool = msgspec.field(default=False, name="omitDefaultRegions")
