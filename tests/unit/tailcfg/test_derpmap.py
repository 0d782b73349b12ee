"""The DERP map's wire form."""

import msgspec

from headscale.tailcfg.derpmap import DERPHomeParams, DERPMap, DERPNode, DERPRegion

NODE = DERPNode(
    name="900a",
    region_id=900,
    host_name="derp.example.com",
    cert_name="sha256-raw:00",
    ipv4="192.0.2.1",
    ipv6="none",
    stun_port=-1,
    stun_only=True,
    derp_port=8443,
    insecure_for_tests=True,
    stun_test_ip="192.0.2.2",
    can_port80=True,
)


def test_every_field_has_gos_name() -> None:
    """Written out once, as Go's decoder expects it."""
    derp_map = DERPMap(
        home_params=DERPHomeParams({900: 0.5}),
        regions={
            900: DERPRegion(
                region_id=900,
                region_code="my",
                region_name="Mine",
                latitude=1.5,
                longitude=-2.5,
                avoid=True,
                no_measure_no_home=True,
                nodes=(NODE,),
            )
        },
        omit_default_regions=True,
    )
    assert msgspec.json.encode(derp_map).decode() == (
        '{"HomeParams":{"RegionScore":{"900":0.5}},"Regions":{"900":{"RegionID":900,"RegionCode":"my",'
        '"RegionName":"Mine","Latitude":1.5,"Longitude":-2.5,"Avoid":true,"NoMeasureNoHome":true,"Nodes":['
        '{"Name":"900a","RegionID":900,"HostName":"derp.example.com","CertName":"sha256-raw:00",'
        '"IPv4":"192.0.2.1","IPv6":"none","STUNPort":-1,"STUNOnly":true,"DERPPort":8443,'
        '"InsecureForTests":true,"STUNTestIP":"192.0.2.2","CanPort80":true}]}},"omitDefaultRegions":true}'
    )


def test_what_is_absent_is_left_out_but_for_what_rust_needs() -> None:
    """RegionID, RegionCode, RegionName and Nodes stay, even when empty."""
    derp_map = DERPMap(regions={1: DERPRegion(region_id=1, region_code="", region_name="", nodes=())})
    assert msgspec.json.encode(derp_map) == (
        b'{"Regions":{"1":{"RegionID":1,"RegionCode":"","RegionName":"","Nodes":[]}}}'
    )


def test_it_decodes_itself() -> None:
    """For the harness, which reads what a server sends."""
    text = b'{"Regions":{"1":{"RegionID":1,"RegionCode":"a","RegionName":"b","Nodes":[]}}}'
    assert msgspec.json.encode(msgspec.json.decode(text, type=DERPMap)) == text
