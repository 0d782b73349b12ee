"""Which records a node may publish."""

import pytest

from headscale.certificates.challenge import check_challenge
from headscale.errors import Malformed, Refused

DOMAIN = "web.tailnet.example"
NAME = f"_acme-challenge.{DOMAIN}"
VALUE = "-" + "aB3_" * 10 + "xy"


@pytest.mark.parametrize("name", [NAME, f"{NAME}.", NAME.upper()])
def test_the_answer_about_its_own_name_is_published(name: str) -> None:
    assert check_challenge(name, "TXT", VALUE, domain=DOMAIN) == NAME


@pytest.mark.parametrize(
    "name",
    [
        "",
        DOMAIN,
        "_acme-challenge.db.tailnet.example",
        "_acme-challenge.tailnet.example",
        f"_acme-challenge.sub.{DOMAIN}",
        f"_acme-challenge.x{DOMAIN}",
        f"{NAME}..",
        f" {NAME}",
        f"{NAME}\n",
        "_acme-challenge." + "x" * 4000,
    ],
)
def test_other_names_are_refused_in_what_a_client_shows(name: str) -> None:
    with pytest.raises(Refused, match=DOMAIN) as refused:
        check_challenge(name, "TXT", VALUE, domain=DOMAIN)
    assert len(str(refused.value)) <= 200
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("kind", ["", "A", "CNAME", "TXT "])
def test_only_texts_are_published(kind: str) -> None:
    with pytest.raises(Refused, match="only TXT"):
        check_challenge(NAME, kind, VALUE, domain=DOMAIN)


@pytest.mark.parametrize(
    "value", ["", VALUE[:-1], VALUE + "a", VALUE[:-1] + "=", VALUE[:-1] + '"', VALUE + "\n"]
)
def test_a_value_is_a_digest_and_nothing_else(value: str) -> None:
    with pytest.raises(Malformed, match="43 base64url"):
        check_challenge(NAME, "TXT", value, domain=DOMAIN)


def test_a_name_that_has_no_room_for_the_prefix_is_refused() -> None:
    domain = ".".join(["x" * 59] * 4)
    with pytest.raises(Refused, match="too long"):
        check_challenge(f"_acme-challenge.{domain}", "TXT", VALUE, domain=domain)
