"""The description of REST v1: whole, and in itself sound."""

import json
from typing import Any

from ruamel.yaml import YAML

from headscale.api.v1 import description
from tests.integration.doors import ROUTES


def document() -> dict[str, Any]:
    return json.loads(description._json_text())  # type: ignore[no-any-return]


def test_every_route_is_described_and_nothing_else() -> None:
    described = {
        (method.upper(), path) for path, methods in document()["paths"].items() for method in methods
    }
    assert described == set(ROUTES)


def test_what_it_refers_to_is_there_and_what_is_there_is_used() -> None:
    found = document()
    schemas = found["components"]["schemas"]
    used = {part.split('"')[0] for part in json.dumps(found).split("#/components/schemas/")[1:]}
    assert used == set(schemas)
    ids = [each["operationId"] for methods in found["paths"].values() for each in methods.values()]
    assert len(set(ids)) == len(ids)


def test_no_field_of_an_object_is_ever_left_out() -> None:
    """What front ends of the peer count on."""
    schemas = document()["components"]["schemas"]
    for name in ("User", "Node", "PreAuthKey", "ApiKey", "NodesAnswer", "UserAnswer"):
        assert set(schemas[name]["required"]) == set(schemas[name]["properties"])


def test_yaml_says_the_same() -> None:
    assert YAML(typ="safe", pure=True).load(description._yaml_text()) == document()
