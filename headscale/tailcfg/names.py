"""How Python field names become Go's JSON names, and how a client's spelling is brought to ours.

Go reads keys in any case and tailscale-rs writes some of its own (`HostInfo`, `IpnVersion`), so what comes
in is matched case-insensitively; what goes out has exactly Go's spelling, because tailscale-rs is exact.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from headscale.errors import Malformed

T = TypeVar("T", bound=msgspec.Struct)

# Deeper than any client's document, and far below the interpreter's recursion limit.
MAX_DEPTH = 64


def wire_names(exceptions: Mapping[str, str]) -> Callable[[str], str]:
    """A msgspec `rename`: snake_case to PascalCase, but for the exceptions (`os` to `OS`)."""

    def rename(field: str) -> str:
        return exceptions.get(field) or "".join(part.capitalize() for part in field.split("_"))

    return rename


def decode_request(body: bytes, wanted: type[T]) -> T:
    """A client's JSON document as `wanted`: keys in any case, unknown keys ignored, `null` as absent.

    Raises Malformed for anything that is not such a document, naming the place and what was expected.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise Malformed(f"the body is not JSON: {problem}") from None
    return convert_request(document, wanted)


def convert_request(document: object, wanted: type[T]) -> T:
    """As `decode_request`, for a document that is decoded already."""
    _check_depth(document)
    try:
        return msgspec.convert(_respell(document, _spelling(wanted)), wanted)
    except msgspec.ValidationError as problem:
        raise Malformed(f"{wanted.__name__}: {problem}") from None


class _Spelling(msgspec.Struct, frozen=True):
    """Lower-cased key to our spelling of it and the spelling of what stands under it."""

    keys: dict[str, tuple[str, "_Spelling | None"]]


@cache
def _spelling(struct: type[msgspec.Struct]) -> _Spelling:
    described = inspect.type_info(struct)
    assert isinstance(described, inspect.StructType)
    return _Spelling(
        {field.encode_name.lower(): (field.encode_name, _nested(field.type)) for field in described.fields}
    )


def _nested(described: inspect.Type) -> _Spelling | None:
    """The spelling inside a field: a struct, a list of structs, or either of them optional."""
    match described:
        case inspect.StructType():
            return _spelling(described.cls)
        case inspect.UnionType():
            return next((found for option in described.types if (found := _nested(option))), None)
        case inspect.VarTupleType() | inspect.ListType():
            return _nested(described.item_type)
    return None


def _check_depth(document: object) -> None:
    """Of all of it: what is kept as plain JSON is encoded again, and deeper in our own stack than here."""
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inside(value) if isinstance(inner, dict | list)]
        if not level:
            return
    raise Malformed(f"the document is nested deeper than {MAX_DEPTH} levels")


def _inside(value: object) -> Iterable[object]:
    """The values directly under an array or object."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _respell(value: object, spelling: _Spelling | None) -> Any:
    if isinstance(value, list):
        return [_respell(item, spelling) for item in value]
    if not isinstance(value, dict) or spelling is None:
        return value
    out: dict[str, Any] = {}
    for key, inner in value.items():
        found = spelling.keys.get(key.lower())
        if found is not None and inner is not None:
            out[found[0]] = _respell(inner, found[1])
    return out
