"""The description of one version of the API (OpenAPI 3.1), made from the types that it speaks."""

import asyncio
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any, Final

import msgspec
from aiohttp import web
from ruamel.yaml import YAML

from headscale import __version__

Struct = type[msgspec.Struct]

_TEXT: Final = {"type": "string"}
_TURN: Final = threading.Lock()
_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"


def object_of(name: str, **fields: Any) -> Struct:
    """An answer with these fields, all of them always there."""
    return msgspec.defstruct(name, list(fields.items()), frozen=True, rename="camel")


Nothing: Final = object_of("Nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One route. `query` are the parameters that it knows, all of them optional. `body` and `answer` may also be
    `bytes`: any text, of the media type that is named; an answer may be anything of another type, too. One of `scopes`
    is needed, none means that any credential will do; one that `is_own` everybody may ask of their own devices.
    `problem` is what refuses, if that is not what refuses elsewhere.
    """

    summary: str
    answer: type[Any] = Nothing
    answer_type: str = _JSON
    other_answer_type: str = ""
    body: type[Any] | None = None
    body_type: str = _JSON
    query: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    is_own: bool = False
    is_public: bool = False
    needs_body: bool = False
    problem: Struct | None = None


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is told of the version of the API below `base`.

    `operations` by method and path (behind the base), `schemes` the ways to log in, `refusal` the answer to who may not
    in, `problem` every other error, `ids` the pattern of path parameters by name.
    """

    base: str
    operations: Mapping[tuple[str, str], Operation]
    schemes: Sequence[str]
    problem: Struct
    refusal: Struct
    problem_type: str
    ids: Mapping[str, str]

    @property
    def json_path(self) -> str:
        """Where it is mounted."""
        return f"{self.base}/openapi.json"

    @property
    def yaml_path(self) -> str:
        """Where it is mounted as YAML."""
        return f"{self.base}/openapi.yaml"

    def routes(self) -> list[web.RouteDef]:
        """Everybody may read it: it says nothing of the tailnet."""
        return [web.get(self.json_path, self._json), web.get(self.yaml_path, self._yaml)]

    @cached_property
    def document(self) -> dict[str, Any]:
        """The whole of it."""
        types: list[Any] = [self.problem, self.refusal]
        for operation in self.operations.values():
            told = (operation.answer, operation.body, operation.problem)
            types += [each for each in told if each not in (None, bytes)]
        _, schemas = msgspec.json.schema_components(dict.fromkeys(types), ref_template=_REF)
        paths: dict[str, dict[str, Any]] = {}
        for (method, path), operation in self.operations.items():
            paths.setdefault(self.base + path, {})[method.lower()] = self._described(method, path, operation)
        return {
            "openapi": "3.1.0",
            "info": {"title": "headscale", "version": __version__},
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {name: {"type": "http", "scheme": name} for name in self.schemes},
            },
            "security": [{name: []} for name in self.schemes],
        }

    @cached_property
    def json_text(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self.document)

    @cached_property
    def yaml_text(self) -> bytes:
        """As YAML."""
        stream = BytesIO()
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        yaml.representer.ignore_aliases = lambda *_: True
        yaml.dump(msgspec.json.decode(self.json_text), stream)
        return stream.getvalue()

    def _described(self, method: str, path: str, operation: Operation) -> dict[str, Any]:
        parameters = [
            {"name": name, "in": place, "required": place == "path", "schema": self._schema(place, name)}
            for place, names in (("path", re.findall(r"\{(\w+)\}", path)), ("query", operation.query))
            for name in names
        ]
        described: dict[str, Any] = {
            "operationId": _id(method, path),
            "summary": operation.summary,
            "tags": [path.removeprefix("/tailnet/{tailnet}").split("/")[1]],
            "parameters": parameters,
            "responses": {
                "200": {"description": "Done", "content": _answered(operation)},
                "401": {
                    "description": "No API key, or none that is good",
                    "content": _content(self.problem_type, operation.problem or self.refusal),
                },
                "default": {
                    "description": "Why not",
                    "content": _content(self.problem_type, operation.problem or self.problem),
                },
            },
        }
        if operation.scopes:
            described["description"] = _needs(operation)
        if operation.is_public:
            described["security"] = []
        if operation.body is not None:
            described["requestBody"] = {
                "content": _content(operation.body_type, operation.body),
                **({"required": True} if operation.needs_body else {}),
            }
        return described

    def _schema(self, place: str, name: str) -> dict[str, str]:
        pattern = self.ids.get(name) if place == "path" else None
        return {**_TEXT, "pattern": pattern} if pattern else _TEXT

    def _yaml_once(self) -> bytes:
        """It takes a quarter of a second to make, so in a thread, and not in several at a time."""
        with _TURN:
            return self.yaml_text

    async def _json(self, request: web.Request) -> web.Response:
        return web.Response(body=self.json_text, content_type=_JSON)

    async def _yaml(self, request: web.Request) -> web.Response:
        return web.Response(body=await asyncio.to_thread(self._yaml_once), content_type="application/yaml")


def _id(method: str, path: str) -> str:
    """`postNodeIdExpire`."""
    words = re.findall(r"[A-Za-z]+", path.replace("{tailnet}", ""))
    return method.lower() + "".join(word[:1].upper() + word[1:] for word in words)


def _needs(operation: Operation) -> str:
    told = f"Scope: {' or '.join(f'`{scope}`' for scope in operation.scopes)}"
    return f"{told}; of their own devices everybody may" if operation.is_own else told


def _answered(operation: Operation) -> dict[str, Any]:
    content = _content(operation.answer_type, operation.answer)
    if operation.other_answer_type:
        content[operation.other_answer_type] = {"schema": {}}
    return content


def _content(kind: str, told: type[Any]) -> dict[str, Any]:
    if told is bytes:
        return {kind: {"schema": _TEXT}}
    (schema,), _ = msgspec.json.schema_components((told,), ref_template=_REF)
    return {kind: {"schema": schema}}
