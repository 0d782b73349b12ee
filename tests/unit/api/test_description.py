"""The descriptions of REST v1 and v2: whole, and in themselves sound."""

import json
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML

from headscale.api.description import Description
from headscale.api.v1.description import DESCRIPTION as V1
from headscale.api.v2.description import DESCRIPTION as V2
from headscale.api.v2.endpoints import Endpoint
from headscale.api.v2.table import ENDPOINTS
from tests.integration.doors import ROUTES

BOTH = pytest.mark.parametrize("description", [V1, V2], ids=["v1", "v2"])


def document(description: Description = V1) -> dict[str, Any]:
    return json.loads(description.json_text)  # type: ignore[no-any-return]


@BOTH
def test_every_route_is_described_and_nothing_else(description: Description) -> None:
    described = {
        (method.upper(), path)
        for path, methods in document(description)["paths"].items()
        for method in methods
    }
    routes = ROUTES if description is V1 else {(each.method, V2.base + each.path) for each in ENDPOINTS}
    assert described == set(routes)


@BOTH
def test_what_it_refers_to_is_there_and_what_is_there_is_used(description: Description) -> None:
    found = document(description)
    schemas = found["components"]["schemas"]
    used = {part.split('"')[0] for part in json.dumps(found).split("#/components/schemas/")[1:]}
    assert used == set(schemas)
    ids = [each["operationId"] for methods in found["paths"].values() for each in methods.values()]
    assert len(set(ids)) == len(ids)


def test_no_field_of_an_object_is_ever_left_out() -> None:
    """What front ends of the peer count on. Whose an API key is it does not know: one of nobody's is its own."""
    schemas = document()["components"]["schemas"]
    ours = {"ApiKey": {"user"}}
    for name in ("User", "Node", "PreAuthKey", "ApiKey", "NodesAnswer", "UserAnswer"):
        required = set(schemas[name]["properties"]) - ours.get(name, set())
        assert set(schemas[name]["required"]) == required


@BOTH
def test_yaml_says_the_same(description: Description) -> None:
    assert YAML(typ="safe", pure=True).load(description.yaml_text) == document(description)


@pytest.mark.parametrize(
    "endpoint",
    [each for each in ENDPOINTS if isinstance(each.body, type(msgspec.Struct))],
    ids=lambda each: each.path,
)
def test_no_body_of_v2_may_have_a_field_that_means_nothing(endpoint: Endpoint[Any]) -> None:
    """A field that is misspelled must not be a change that is not made: so at every depth."""
    assert endpoint.body is not None
    _, schemas = msgspec.json.schema_components([endpoint.body])
    objects = {name: schema for name, schema in schemas.items() if "properties" in schema}
    assert endpoint.body.__name__ in objects
    assert [name for name, schema in objects.items() if schema.get("additionalProperties") is not False] == []
