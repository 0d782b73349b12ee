"""What becomes of a client's JSON: any spelling is read, anything else is refused with words and nothing worse."""

import json
from typing import Any

import msgspec
import pytest

from headscale.errors import Malformed
from headscale.keys import ZERO_NODE_KEY, node_key
from headscale.tailcfg.hostinfo import Hostinfo
from headscale.tailcfg.limits import PORT_MAX, REGION_MAX, VERSION_MAX
from headscale.tailcfg.maps import MapRequest
from headscale.tailcfg.names import MAX_DEPTH, decode_request
from headscale.tailcfg.register import RegisterRequest
from headscale.tailcfg.verify import VerifyRequest

pytestmark = pytest.mark.bar("H10")

KEY = node_key(bytes(range(32)))


def registering(**fields: Any) -> RegisterRequest:
    return decode_request(json.dumps({"NodeKey": KEY, **fields}).encode(), RegisterRequest)


def polling(**fields: Any) -> MapRequest:
    return decode_request(json.dumps({"NodeKey": KEY, **fields}).encode(), MapRequest)


def test_gos_spelling_is_read() -> None:
    request = registering(
        Version=142,
        OldNodeKey=ZERO_NODE_KEY,
        Auth={"AuthKey": "k"},
        Expiry="0001-01-01T00:00:00Z",
        Hostinfo={"IPNVersion": "1.2.3", "OS": "linux", "NetInfo": {"PreferredDERP": 7}},
    )
    assert request.version == 142
    assert request.auth is not None
    assert request.auth.auth_key == "k"
    assert request.hostinfo is not None
    assert (request.hostinfo.ipn_version, request.hostinfo.os) == ("1.2.3", "linux")
    assert request.hostinfo.net_info is not None
    assert request.hostinfo.net_info.preferred_derp == 7


def test_the_rust_clients_spelling_is_read() -> None:
    """tailscale-rs writes some names in its own way."""
    request = registering(
        HostInfo={"IpnVersion": "0.6.0", "Os": "linux", "FrontendLogId": "f", "GoArch": "arm64"}
    )
    assert request.hostinfo == Hostinfo(ipn_version="0.6.0", os="linux", frontend_log_id="f", go_arch="arm64")


def test_keys_are_read_in_any_case_at_every_depth() -> None:
    request = polling(HOSTINFO={"netinfo": {"preferredderp": 3}, "SERVICES": [{"PROTO": "tcp", "pOrT": 5}]})
    assert request.hostinfo is not None
    assert request.hostinfo.services[0].port == 5
    assert request.hostinfo.net_info is not None
    assert request.hostinfo.net_info.preferred_derp == 3


def test_the_lower_case_field_of_go_is_read() -> None:
    hostinfo = registering(Hostinfo={"sshHostKeys": ["ssh-ed25519 A"]}).hostinfo
    assert hostinfo is not None
    assert hostinfo.ssh_host_keys == ("ssh-ed25519 A",)


def test_unknown_keys_are_ignored() -> None:
    assert registering(Future={"a": [1, {"b": None}]}, Hostinfo={"New": 1}).hostinfo == Hostinfo()


def test_null_is_absent() -> None:
    """Old Go clients send every field, nulls included."""
    request = polling(Hostinfo=None, Endpoints=None, EndpointTypes=None, Stream=None)
    assert request == MapRequest(node_key=KEY)


def test_an_empty_list_is_not_an_absent_one() -> None:
    assert polling(Endpoints=[]).endpoints == ()


def test_what_the_rust_client_omits_has_its_zero() -> None:
    request = registering()
    assert (request.version, request.expiry, request.old_node_key) == (0, None, ZERO_NODE_KEY)


def nested(levels: int) -> bytes:
    """A request whose free-form part makes it this deep; four levels are the way there."""
    inner = "".join(['{"a":'] * (levels - 4)) + "1" + "}" * (levels - 4)
    return f'{{"NodeKey":"{KEY}","Hostinfo":{{"Location":{{"x":[{inner}]}}}}}}'.encode()


def test_a_document_may_be_so_deep_and_no_deeper() -> None:
    """What is kept as plain JSON is encoded again, deep in our own stack."""
    assert decode_request(nested(MAX_DEPTH), RegisterRequest).hostinfo is not None
    with pytest.raises(Malformed, match=f"deeper than {MAX_DEPTH} levels"):
        decode_request(nested(MAX_DEPTH + 1), RegisterRequest)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"NodeKey":[', b'{"Hostinfo":{"Location":'])
def test_no_depth_breaks_the_interpreter(opening: bytes) -> None:
    with pytest.raises(Malformed):
        decode_request(opening * 50_000, RegisterRequest)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"NodeKey": 5}, "NodeKey"),
        ({"NodeKey": "nodekey:xyz"}, "NodeKey"),
        ({"NodeKey": KEY[:-1]}, "NodeKey"),
        ({"NodeKey": KEY + "0"}, "NodeKey"),
        ({"NodeKey": KEY + "\n"}, "NodeKey"),
        ({"NodeKey": KEY.replace("nodekey:", "mkey:")}, "NodeKey"),
        ({"Version": "142"}, "Version"),
        ({"Version": 1.5}, "Version"),
        ({"Version": -1}, "Version"),
        ({"Version": VERSION_MAX + 1}, "Version"),
        ({"Version": 10**30}, "Version"),
        ({"Expiry": "yesterday"}, "Expiry"),
        ({"Expiry": "2026-01-01T00:00:00"}, "Expiry"),
        ({"Expiry": 5}, "Expiry"),
        ({"Auth": "key"}, "Auth"),
        ({"Ephemeral": "yes"}, "Ephemeral"),
        ({"Hostinfo": []}, "Hostinfo"),
        ({"Hostinfo": {"Hostname": 7}}, "Hostinfo.Hostname"),
        ({"Hostinfo": {"RequestTags": "tag:x"}}, "RequestTags"),
        ({"Hostinfo": {"RequestTags": [None]}}, "RequestTags"),
        ({"Hostinfo": {"NetInfo": {"PreferredDERP": REGION_MAX + 1}}}, "PreferredDERP"),
        ({"Hostinfo": {"NetInfo": {"PreferredDERP": -1}}}, "PreferredDERP"),
        ({"Hostinfo": {"Services": [{"Port": PORT_MAX + 1}]}}, "Port"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(Malformed, match=place):
        registering(**fields)


def test_numbers_are_good_up_to_their_limits() -> None:
    """They go on to others, whose Go types are as wide as this."""
    request = registering(
        Version=VERSION_MAX,
        Hostinfo={"NetInfo": {"PreferredDERP": REGION_MAX}, "Services": [{"Port": PORT_MAX}]},
    )
    assert request.version == VERSION_MAX


@pytest.mark.parametrize(
    "endpoint", ["192.0.2.1:41641", "[2001:db8::1]:1", "[fe80::1%eth0]:65535", "", "invalid:1"]
)
def test_an_endpoint_is_a_host_and_a_port(endpoint: str) -> None:
    """Which of them peers can dial is decided later; a zero AddrPort of Go is an empty text."""
    assert polling(Endpoints=[endpoint]).endpoints == (endpoint,)


@pytest.mark.parametrize(
    "endpoint", ["[2001:db8::1:1", "2001:db8::1]:1", "192.0.2.1:١", "192.0.2.1:1\n", "192.0.2.1", "a:123456"]
)
def test_an_endpoint_that_go_cannot_read_never_gets_to_peers(endpoint: str) -> None:
    """One would make every peer drop its whole map."""
    with pytest.raises(Malformed, match="Endpoints"):
        polling(Endpoints=[endpoint])


def test_a_disco_key_is_checked_like_a_node_key() -> None:
    with pytest.raises(Malformed, match="DiscoKey"):
        polling(DiscoKey="discokey:" + "a" * 64 + "\n")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"5",
        b"{",
        b'{"NodeKey":NaN}',
        b'{"Version":Infinity}',
        b'{"Version":1e999}',
        b'{"Version":' + b"9" * 5000 + b"}",
        b'{"Hostinfo":{"Location":{"a":' + b"9" * 5000 + b"}}}",
        b'{"Hostinfo":{"NetInfo":{"DERPLatency":{"1":1e999}}}}',
        b'{"NodeKey":"\\ud800"}',
        b'{"NodeKey":"\\udc00\\ud800"}',
        b'{"NodeKey":"\\ud800\\u0041"}',
        b'{"NodeKey":"\xff"}',
        b'{"NodeKey":"\xed\xa0\x80"}',
        b'{"NodeKey":"\x00"}',
        b'{"\x00":1}',
        b"\x00",
        b'\xef\xbb\xbf{"NodeKey":1}',
        b'{"NodeKey":"a"} trailing',
    ],
)
@pytest.mark.parametrize("wanted", [RegisterRequest, MapRequest, VerifyRequest])
def test_what_is_no_request_is_malformed_and_nothing_else(body: bytes, wanted: type[msgspec.Struct]) -> None:
    with pytest.raises(Malformed):
        decode_request(body, wanted)
