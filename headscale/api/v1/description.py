"""/api/v1/openapi.json and .yaml: the description of this API (OpenAPI 3.1), made from the types that it speaks."""

import asyncio
import re
import threading
from functools import cache
from io import BytesIO
from typing import Any, Final

import msgspec
from aiohttp import web
from ruamel.yaml import YAML

from headscale import __version__
from headscale.api.problems import PROBLEM_TYPE, Problem
from headscale.api.v1.operations import OPERATIONS, Operation, Unauthorized

BASE: Final = "/api/v1"
JSON_PATH: Final = f"{BASE}/openapi.json"
YAML_PATH: Final = f"{BASE}/openapi.yaml"
_TEXT: Final = {"type": "string"}
_TEXTS: Final = {("path", "id"): {"type": "string", "pattern": "^[1-9][0-9]{0,18}$"}}
_TURN: Final = threading.Lock()
_REF: Final = "#/components/schemas/{name}"


def routes() -> list[web.RouteDef]:
    """Where it is mounted. Everybody may read it: it says nothing of the tailnet."""
    return [web.get(JSON_PATH, _json), web.get(YAML_PATH, _yaml)]


@cache
def description() -> dict[str, Any]:
    """The whole document."""
    types: list[Any] = [Problem, Unauthorized]
    for operation in OPERATIONS.values():
        types += [operation.answer, *([operation.body] if operation.body else [])]
    _, schemas = msgspec.json.schema_components(dict.fromkeys(types), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(BASE + path, {})[method.lower()] = _described(method, path, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "headscale", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }


def _described(method: str, path: str, operation: Operation) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": place, "required": place == "path", "schema": _TEXTS.get((place, name), _TEXT)}
        for place, names in (("path", re.findall(r"\{(\w+)\}", path)), ("query", operation.query))
        for name in names
    ]
    described: dict[str, Any] = {
        "operationId": _id(method, path),
        "summary": operation.summary,
        "tags": [path.split("/")[1]],
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done", "content": _content("application/json", operation.answer)},
            "401": {
                "description": "No API key, or none that is good",
                "content": _content(PROBLEM_TYPE, Unauthorized),
            },
            "default": {"description": "Why not", "content": _content(PROBLEM_TYPE, Problem)},
        },
    }
    if operation.body is not None:
        described["requestBody"] = {"content": _content("application/json", operation.body)}
    return described


def _id(method: str, path: str) -> str:
    """`postNodeIdExpire`."""
    return method.lower() + "".join(word[:1].upper() + word[1:] for word in re.findall(r"[A-Za-z]+", path))


def _content(kind: str, told: type[msgspec.Struct]) -> dict[str, Any]:
    return {kind: {"schema": {"$ref": _REF.format(name=told.__name__)}}}


@cache
def _json_text() -> bytes:
    return msgspec.json.encode(description())


@cache
def _yaml_text() -> bytes:
    stream = BytesIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.representer.ignore_aliases = lambda *_: True
    yaml.dump(msgspec.json.decode(_json_text()), stream)
    return stream.getvalue()


def _yaml_once() -> bytes:
    """It takes a quarter of a second to make, so in a thread, and not in several at a time."""
    with _TURN:
        return _yaml_text()


async def _json(request: web.Request) -> web.Response:
    return web.Response(body=_json_text(), content_type="application/json")


async def _yaml(request: web.Request) -> web.Response:
    return web.Response(body=await asyncio.to_thread(_yaml_once), content_type="application/yaml")
