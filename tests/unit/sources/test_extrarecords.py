"""Extra DNS records as operators write them."""

import msgspec
import pytest

from headscale.errors import Malformed
from headscale.sources.extrarecords import NAME_MAX, parse_records, record_of
from headscale.tailcfg.dns import DNSRecord


def entry(name: object = "a.example", type: object = "A", value: object = "192.0.2.1") -> dict[str, object]:
    return {"name": name, "type": type, "value": value}


def parsed(*entries: object) -> tuple[DNSRecord, ...]:
    return parse_records(msgspec.json.encode(entries))


def test_records_are_read_each_once_and_in_one_order() -> None:
    """So that the same set is the same, however it is written."""
    b6 = entry("b.example", "AAAA", "2001:DB8::1")
    found = parsed(b6, entry(), entry("A.Example."), entry(type=""))
    assert found == (DNSRecord("a.example", "192.0.2.1", "A"), DNSRecord("b.example", "2001:db8::1", "AAAA"))


def test_no_record_is_a_set_too() -> None:
    assert parse_records(b" [] ") == ()


def test_keys_are_read_in_any_case_and_unknown_ones_ignored() -> None:
    """As the Go headscale does."""
    assert parsed({"Name": "a.example", "TYPE": "a", "Value": "192.0.2.1", "note": 1}) == parsed(entry())


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (entry(type="TXT"), "entry 2 (a.example): type 'TXT': clients answer A and AAAA only"),
        (entry(type="AAAA"), "entry 2 (a.example): expected an IPv6 address as the value, got '192.0.2.1'"),
        (
            entry(value="2001:db8::1"),
            "entry 2 (a.example): expected an IPv4 address as the value, got '2001:db8::1'",
        ),
        (entry(type="", value="b"), "entry 2 (a.example): expected an IP address as the value, got 'b'"),
        (entry(type="AAAA", value="fe80::1%eth0"), "entry 2 (a.example): expected an IPv6 address"),
        (entry(name=""), "entry 2: the name must be a full domain name"),
        (entry(name="*.example"), "entry 2 (*.example): the name must be a full domain name"),
        (entry(name="a..example"), "entry 2 (a..example): the name must be"),
        (entry(name="a b"), "entry 2 (a b): the name must be"),
        (entry(name='a"b'), 'entry 2 (a"b): the name must be'),
        (entry(name=7), "entry 2: name, type and value are texts"),
        ("text", "entry 2: expected name, type and value"),
        ({"name": "a.example"}, "entry 2 (a.example): expected an IP address as the value, got ''"),
    ],
)
def test_a_complaint_names_the_entry(bad: object, complaint: str) -> None:
    with pytest.raises(Malformed) as caught:
        parsed(entry(), bad)
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b'[\n  {"name": "a"},\n  oops\n]', "3:3: JSON is malformed"),
        (b"[", "Input data was truncated"),
        (b'{"name": "a"}', "expected a list of records"),
        (b"null", "expected a list of records"),
        (b"[" * 100_000, ""),
        (b"[\xff]", ""),
    ],
)
def test_what_is_no_list_is_a_complaint_with_its_place(text: bytes, complaint: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_records(text)
    assert str(caught.value).startswith(complaint)


def test_the_longest_name_is_taken_and_a_longer_one_is_not() -> None:
    longest = ".".join(["x" * 63] * 3 + ["y" * (NAME_MAX - 3 * 64)])
    assert record_of(entry(longest), "x").name == longest
    with pytest.raises(Malformed):
        record_of(entry(longest + "y"), "x")
    with pytest.raises(Malformed):
        record_of(entry("x" * 64), "x")
