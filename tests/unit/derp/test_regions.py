"""Building, reading and merging DERP maps."""

import dataclasses
from ipaddress import IPv4Address, IPv6Address

import msgspec
import pytest
from msgspec.structs import replace

from headscale.derp import regions
from headscale.derp.regions import EmbeddedRegion
from headscale.errors import Malformed
from headscale.tailcfg.derpmap import DERPMap, DERPNode, DERPRegion

PIN = "sha256-raw:" + "0" * 64
SETTINGS = EmbeddedRegion(
    region_id=999,
    code="headscale",
    name="Headscale Embedded DERP",
    host="derp.example.com",
    derp_port=443,
    stun_port=3478,
)


def region(region_id: int, *names: str) -> DERPRegion:
    nodes = tuple(DERPNode(name=name, region_id=region_id, host_name=name) for name in names)
    return DERPRegion(region_id=region_id, region_code="c", region_name="n", nodes=nodes)


def embedded_node(**changes: object) -> DERPNode:
    return regions.embedded_region(dataclasses.replace(SETTINGS, **changes)).nodes[0]  # type: ignore[arg-type]


def test_the_embedded_region_has_one_node() -> None:
    """Named after the region, at the server's own host and ports."""
    built = regions.embedded_region(SETTINGS)
    assert (built.region_id, built.region_code, built.region_name) == (
        999,
        "headscale",
        "Headscale Embedded DERP",
    )
    assert built.nodes == (
        DERPNode(name="999", region_id=999, host_name="derp.example.com", derp_port=443, stun_port=3478),
    )


def test_without_stun_its_port_is_minus_one() -> None:
    """Zero would mean 3478."""
    assert embedded_node(stun_port=None).stun_port == -1


def test_configured_addresses_are_sent() -> None:
    """So that clients need no DNS to reach the relay."""
    node = embedded_node(ipv4=IPv4Address("192.0.2.1"), ipv6=IPv6Address("2001:db8::1"))
    assert (node.ipv4, node.ipv6) == ("192.0.2.1", "2001:db8::1")


@pytest.mark.parametrize(
    ("host", "ipv4", "ipv6"),
    [("192.0.2.1", "192.0.2.1", "none"), ("2001:db8::1", "none", "2001:db8::1"), ("a.example", "", "")],
)
def test_a_host_that_is_an_address_rules_out_the_other_family(host: str, ipv4: str, ipv6: str) -> None:
    """A client would ask the DNS for it."""
    node = embedded_node(host=host)
    assert (node.host_name, node.ipv4, node.ipv6) == (host, ipv4, ipv6)


@pytest.mark.parametrize(
    "changes", [{"region_id": 0}, {"region_id": 65536}, {"derp_port": 65536}, {"host": ""}, {"stun_port": -2}]
)
def test_embedded_settings_past_a_limit_are_malformed(changes: dict[str, object]) -> None:
    """Region IDs travel as a port number to clients before 111."""
    with pytest.raises(Malformed):
        embedded_node(**changes)


def test_the_largest_region_id_is_allowed() -> None:
    """65535 and 1."""
    assert embedded_node(region_id=65535).region_id == 65535
    assert embedded_node(region_id=1).region_id == 1


def test_json_as_tailscale_serves_it() -> None:
    """Unknown fields are left out; a missing RegionID of a node is its region's."""
    text = (
        b'{"Regions":{"1":{"RegionID":1,"RegionCode":"nyc","RegionName":"New York","New":1,"Nodes":['
        b'{"Name":"1f","RegionID":1,"HostName":"derp1f.example","IPv4":"192.0.2.9","CanPort80":true},'
        b'{"Name":"1g","HostName":"derp1g.example","STUNPort":-1}]}}}'
    )
    parsed = regions.parse_json(text)
    assert parsed == {
        1: DERPRegion(
            region_id=1,
            region_code="nyc",
            region_name="New York",
            nodes=(
                DERPNode(
                    name="1f", region_id=1, host_name="derp1f.example", ipv4="192.0.2.9", can_port80=True
                ),
                DERPNode(name="1g", region_id=1, host_name="derp1g.example", stun_port=-1),
            ),
        )
    }


def test_yaml_as_operators_write_it() -> None:
    """Field names in lower case, as in headscale's derp-example.yaml; null removes a region."""
    text = b"""
regions:
  1: null
  900:
    regionid: 900
    regioncode: custom
    regionname: My Region
    nodes:
      - name: 900a
        regionid: 900
        hostname: myderp.mydomain.no
        ipv4: 198.51.100.1
        ipv6: "2604:a880:400:d1::1"
        stunport: 0
        stunonly: false
        derpport: 0
"""
    parsed = regions.parse_yaml(text)
    assert parsed[1] is None
    assert parsed[900] == DERPRegion(
        region_id=900,
        region_code="custom",
        region_name="My Region",
        nodes=(
            DERPNode(
                name="900a",
                region_id=900,
                host_name="myderp.mydomain.no",
                ipv4="198.51.100.1",
                ipv6="2604:a880:400:d1::1",
            ),
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"Regions":null}',
        '{"Regions":[]}',
        '{"Regions":{"x":null}}',
        '{"Regions":{"0":null}}',
        '{"Regions":{"65536":null}}',
        '{"Regions":{"1":7}}',
        '{"Regions":{"1":{"RegionCode":"a"}}}',
        '{"Regions":{"1":{"RegionID":2,"RegionCode":"a","RegionName":"b"}}}',
        '{"Regions":{"1":{"RegionCode":"a","RegionName":"b","Nodes":{}}}}',
        '{"Regions":{"1":{"RegionCode":"a","RegionName":"b","Nodes":[7]}}}',
        '{"Regions":{"1":{"RegionCode":"a","RegionName":"b","Nodes":[{"Name":"n"}]}}}',
        '{"Regions":{"1":{"RegionCode":"a","RegionName":"b","Nodes":[{"Name":"n","HostName":""}]}}}',
        '{"Regions":{"1":{"RegionCode":"a","RegionName":"b","Nodes":[{"Name":"n","HostName":"h","IPv4":"::1"}]}}}',
        '{"Regions":{"1":{"RegionCode":"a","RegionName":"b","Nodes":[{"Name":"n","HostName":"h","RegionID":2}]}}}',
        '{"Regions":{"1":{"RegionCode":"a","RegionName":"b","Nodes":[{"Name":"n","HostName":"h","DERPPort":-1}]}}}',
        "[" * 100_000,
        "\x00",
    ],
)
def test_what_is_not_a_map_is_malformed_in_both(text: str) -> None:
    """Every JSON here is YAML too; neither reader raises anything else."""
    for parse in (regions.parse_json, regions.parse_yaml):
        with pytest.raises(Malformed):
            parse(text.encode())


def test_a_source_has_a_largest_size() -> None:
    """Four megabytes are read, a byte more is not."""
    text = b'{"Regions":{}}'.ljust(regions.MAX_SOURCE_BYTES)
    assert regions.parse_json(text) == {}
    with pytest.raises(Malformed):
        regions.parse_json(text + b" ")


def test_later_sources_win_and_null_removes() -> None:
    """By region, as a whole; a region can be removed and the embedded one wins its ID."""
    merged = regions.merge(
        [{1: region(1, "a"), 2: region(2, "b"), 3: region(3, "c")}, {2: region(2, "d"), 3: None}],
        embedded=region(1, "own"),
    )
    assert merged == DERPMap(regions={1: region(1, "own"), 2: region(2, "d")})


def test_null_for_a_region_that_is_not_there_is_nothing() -> None:
    """And never reaches a client."""
    assert msgspec.json.encode(regions.merge([{5: None}])) == b'{"Regions":{}}'


def test_spreading_is_the_same_for_a_tailnet_and_differs_between_tailnets() -> None:
    """Whatever order the source has; no node is lost."""
    names = [str(number) for number in range(10)]
    one = regions.spread(DERPMap(regions={1: region(1, *names)}), tailnet="a.example")
    same = regions.spread(DERPMap(regions={1: region(1, *reversed(names))}), tailnet="a.example")
    other = regions.spread(DERPMap(regions={1: region(1, *names)}), tailnet="b.example")
    assert one == same
    assert one != other
    assert set(one.regions[1].nodes) == set(other.regions[1].nodes) == set(region(1, *names).nodes)


def pinned(**changes: object) -> DERPMap:
    built = regions.embedded_region(SETTINGS)
    node = replace(built.nodes[0], **{"cert_name": PIN, **changes})
    return DERPMap(regions={999: replace(built, nodes=(node,))})


def test_clients_from_115_get_the_pin() -> None:
    """In Go's clients it decides; tailscale-rs knows no pins, and needs the other word to connect at all."""
    assert regions.for_client(pinned(), 115) == pinned(insecure_for_tests=True)


def test_clients_before_115_skip_verification_instead_of_a_pin() -> None:
    """1.80 compares the pin with the certificate's names and could never connect."""
    assert regions.for_client(pinned(), 114) == pinned(cert_name="", insecure_for_tests=True)


def test_a_plain_certificate_name_is_for_every_client() -> None:
    """Nor does a node without one become insecure."""
    for name in ("", "other.example.com"):
        assert regions.for_client(pinned(cert_name=name), 87) == pinned(cert_name=name)


def test_clients_before_115_avoid_what_may_not_be_home() -> None:
    """They do not know NoMeasureNoHome."""
    quiet = DERPMap(regions={1: replace(region(1, "a"), no_measure_no_home=True)})
    assert regions.for_client(quiet, 114).regions[1].avoid is True
    assert regions.for_client(quiet, 115).regions[1].avoid is False


def test_a_file_may_be_json_or_yaml() -> None:
    """Told apart by how it begins; JSON may hold tabs, which YAML refuses there, and YAML may begin with a brace."""
    as_json = (
        b'{\n\t"Regions": {\n\t\t"7": {"RegionID": 7, "RegionCode": "c", "RegionName": "n", "Nodes": []}}}'
    )
    as_flow = b"{regions: {7: {regioncode: c, regionname: n, nodes: []}}}"
    as_yaml = b"regions:\n  7:\n    regioncode: c\n    regionname: n\n    nodes: []\n"
    assert regions.parse(as_json) == regions.parse(as_flow) == regions.parse(as_yaml) == {7: region(7)}


def test_broken_json_is_malformed() -> None:
    """As is what is wrong in it as a map."""
    for text in (b'{"Regions": {', b'{"Regions": []}', b'{"Regions": {"7": {"RegionID": 8}}}'):
        with pytest.raises(Malformed):
            regions.parse(text)


def test_the_hosts_of_a_map_are_names_that_need_resolving() -> None:
    """Each once, and no addresses."""
    found = DERPMap(regions={1: region(1, "b.example", "192.0.2.1"), 2: region(2, "a.example", "b.example")})
    assert regions.hosts_of(found) == ["a.example", "b.example"]


@pytest.mark.parametrize(
    "text",
    [
        b"a: &x [?*x]",
        b"regions: &x {7: *x}",
        b"regions: {7: {regioncode: c, regionname: n, nodes: [], latitude: .nan}}",
        b"regions: {.inf: null}",
    ],
)
def test_odd_yaml_is_malformed(text: bytes) -> None:
    """Whatever the parser makes of it, a file never ends the server."""
    with pytest.raises(Malformed):
        regions.parse(text)
