"""Profiles for Apple's systems: property lists that say where to log in, to the build that they are for."""

import plistlib
from uuid import uuid4

import pytest

from headscale.pages.profile import IDENTIFIER, PAYLOAD_TYPES, profile_of

URL = "https://vpn.example.com/a?b=<c>&d='\""


@pytest.mark.parametrize("build", PAYLOAD_TYPES)
def test_a_profile_sets_the_server_of_its_build(build: str) -> None:
    """Whatever is in the URL."""
    profile_id, payload_id = uuid4(), uuid4()
    text = profile_of(build, URL, profile_id=profile_id, payload_id=payload_id)
    profile = plistlib.loads(text, fmt=plistlib.FMT_XML)
    (payload,) = profile["PayloadContent"]
    assert (payload["PayloadType"], payload["ControlURL"]) == (PAYLOAD_TYPES[build], URL)
    assert (profile["PayloadType"], profile["PayloadIdentifier"]) == ("Configuration", IDENTIFIER)
    assert (profile["PayloadUUID"], payload["PayloadUUID"]) == (str(profile_id), str(payload_id))


@pytest.mark.parametrize("build", PAYLOAD_TYPES)
def test_a_profile_has_what_apple_wants_of_every_payload(build: str) -> None:
    """Each with an identifier of its own, and with a version that is a number."""
    profile = plistlib.loads(profile_of(build, URL, profile_id=uuid4(), payload_id=uuid4()))
    (payload,) = profile["PayloadContent"]
    for each in (profile, payload):
        assert each["PayloadVersion"] == 1
        assert {"PayloadType", "PayloadIdentifier", "PayloadUUID"} <= each.keys()
    assert payload["PayloadIdentifier"] != profile["PayloadIdentifier"]
    assert profile["PayloadRemovalDisallowed"] is False
