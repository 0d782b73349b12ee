"""Given names: what a hostname becomes, and who keeps a name."""

import pytest

from headscale.errors import Malformed
from headscale.state.names import LABEL_MAX, check_label, is_derived, label_of, unique_label


@pytest.mark.parametrize(
    ("hostname", "label"),
    [
        ("laptop", "laptop"),
        ("Joe's Mac mini", "joes-mac-mini"),
        ("mail.server", "mail-server"),
        ("host.local", "host"),
        ("host.localdomain", "host"),
        ("box.lan", "box"),
        ("a_b@c", "a-b-c"),
        ("--edge--", "edge"),
        ("", "node"),
        ("日本", "node"),
        ("<script>", "script"),
        ("x" * 70, "x" * 63),
        ("x" * 62 + "- y", "x" * 62),
        ('"\\\x00', "node"),
    ],
)
def test_a_hostname_becomes_a_label(hostname: str, label: str) -> None:
    assert label_of(hostname) == label


def test_a_newcomer_gets_a_number() -> None:
    assert unique_label("web", {"web", "web-1"}) == "web-2"


def test_a_numbered_name_is_still_a_label() -> None:
    long = "x" * LABEL_MAX
    assert unique_label(long, {long}) == "x" * (LABEL_MAX - 2) + "-1"


def test_a_name_follows_its_hostname_until_someone_chooses_one() -> None:
    assert is_derived("web", "Web")
    assert is_derived("web-3", "web")
    assert not is_derived("web-x", "web")
    assert not is_derived("chosen", "web")


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "a.b", "ä", "x" * 64, "a\n", "*"])
def test_an_administrators_bad_name_is_refused(name: str) -> None:
    with pytest.raises(Malformed, match="is not a node name"):
        check_label(name)


def test_an_administrators_name_is_lowered() -> None:
    assert check_label("Web-1") == "web-1"
