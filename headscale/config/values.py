"""One value of a configuration, from text or YAML to what the kind of its key says.

A complaint says what is wrong with the value; the reader adds where it stands.
"""

import ipaddress
import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from headscale.config.keys import Key, Kind
from headscale.config.settings import Listen
from headscale.errors import Malformed

PORT_MAX: Final = 65535
_UNITS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_LONG_UNITS: Final = {**_UNITS, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_FLAGS: Final = {
    **dict.fromkeys(("true", "t", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "f", "0", "no", "off"), False),
}


def read_value(key: Key, value: object, *, base: Path) -> Any:
    """The value as its key's kind, paths relative to `base`; None for an empty one. Raises Malformed."""
    if value is None or value == "":
        return None
    made = _READERS[key.kind](value)
    if key.kind is Kind.PATH:
        return base / made
    if key.kind is Kind.PATHS:
        return tuple(base / path for path in made)
    if key.choices and made not in key.choices:
        raise Malformed(f"{made!r} is none of {', '.join(key.choices)}")
    return made


def parse_duration(text: str, units: dict[str, float] = _UNITS) -> timedelta:
    """`1h30m` and, with the long units, `30d`; a bare 0 is none. Raises Malformed."""
    if text == "0":
        return timedelta()
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|[a-z])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise Malformed(f"{text!r} is not a duration: expected for example 30m or 1h30m")
    unknown = [unit for _, unit in parts if unit not in units]
    if unknown:
        raise Malformed(f"{text!r}: {unknown[0]!r} is not a unit here, use {', '.join(units)}")
    try:
        return timedelta(seconds=sum(float(number) * units[unit] for number, unit in parts))
    except OverflowError:
        raise Malformed(f"{text!r} is longer than time itself") from None


def parse_long_duration(text: str) -> timedelta:
    """As Prometheus writes it: days, weeks and years as well."""
    return parse_duration(text, _LONG_UNITS)


NAMED_PORTS: Final = {"http": 80, "https": 443}


def parse_listen(text: str) -> Listen:
    """`host:port`; `:port` and `0.0.0.0:port` listen everywhere; IPv6 stands in brackets. `http`, `https` are ports."""
    host, colon, name = text.rpartition(":")
    text = f"{host}:{NAMED_PORTS[name]}" if colon and name in NAMED_PORTS else text
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]*)):([0-9]{1,5})", text)
    if found is None or not 0 < int(found[3]) <= PORT_MAX:
        raise Malformed(f"{text!r} is not host:port, for example 0.0.0.0:8080 or [::]:8080")
    return Listen(host=found[1] or found[2], port=int(found[3]))


def _text(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise Malformed(f"expected a text, got {_kind_of(value)}")


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else _text(value)


def _secret(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    raise Malformed("expected a text in quotes")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _FLAGS:
        return _FLAGS[value.lower()]
    raise Malformed(f"expected true or false, got {value!r}")


def _number(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    raise Malformed(f"expected a whole number, got {value!r}")


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, list):
        return tuple(map(_text, value))
    raise Malformed(f"expected a list, got {_kind_of(value)}")


def _table(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return {str(key): inner for key, inner in value.items()}
    raise Malformed(f"expected a mapping, got {_kind_of(value)}")


def _records(value: object) -> list[dict[str, Any]]:
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return [_table(item) for item in value]
    raise Malformed(f"expected a list of mappings, got {_kind_of(value)}")


def _prefix(family: type[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> Callable[[object], Any]:
    def read(value: object) -> Any:
        text = _text(value)
        try:
            return family(text)
        except ValueError:
            version = 4 if family is ipaddress.IPv4Network else 6
            raise Malformed(f"{text!r} is not an IPv{version} prefix without host bits") from None

    return read


def _address(value: object) -> Any:
    try:
        return ipaddress.ip_address(_text(value))
    except ValueError:
        raise Malformed(f"{value!r} is not an IP address") from None


def _mode(value: object) -> int:
    """Octal, however it is written: "0770", 0o770, and the unquoted 0770 that YAML 1.2 reads as decimal."""
    digits = f"{value:o}" if _is_octal(value) else _text(value).lower().removeprefix("0o")
    if not re.fullmatch(r"0?[0-7]{3}", digits):
        raise Malformed(f'{value!r} is not a file mode: expected octal digits like "0770"')
    return int(digits, 8)


def _is_octal(value: object) -> bool:
    """Whether a file had it as an octal number."""
    if type(value) is int or not isinstance(value, int):
        return False
    from ruamel.yaml.scalarint import (
        OctalInt,
    )  # a number of its own kind: whoever read the file has it loaded

    return isinstance(value, OctalInt)


def _kind_of(value: object) -> str:
    match value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return str(value).lower()
        case _:
            return repr(value)


_READERS: Final[dict[Kind, Callable[[object], Any]]] = {
    Kind.TEXT: _text,
    Kind.WORD: _word,
    Kind.SECRET: _secret,
    Kind.FLAG: _flag,
    Kind.NUMBER: _number,
    Kind.TEXTS: _texts,
    Kind.TABLE: _table,
    Kind.RECORDS: _records,
    Kind.DURATION: lambda value: parse_duration(_text(value)),
    Kind.LONG_DURATION: lambda value: parse_long_duration(_text(value)),
    Kind.PATH: lambda value: Path(os.path.expandvars(_text(value))).expanduser(),
    Kind.PATHS: lambda value: tuple(Path(text).expanduser() for text in _texts(value)),
    Kind.LISTEN: lambda value: parse_listen(_text(value)),
    Kind.PREFIX_V4: _prefix(ipaddress.IPv4Network),
    Kind.PREFIX_V6: _prefix(ipaddress.IPv6Network),
    Kind.ADDRESS: _address,
    Kind.MODE: _mode,
    Kind.ANY: lambda value: value,
}
