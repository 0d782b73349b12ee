"""What a Go headscale's own configuration file says of its database, keys and policy. Old files are read too: nothing
else in them is looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from headscale.errors import Malformed, Unavailable

_POSTGRES: Final = ("host", "port", "name", "user", "pass", "ssl")


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """Where its things are; None for what the file does not say. `policy` only where it is kept in a file."""

    path: Path
    database: str | None = None
    noise_key: Path | None = None
    derp_key: Path | None = None
    policy: Path | None = None


def read_settings(path: Path) -> PeerSettings:
    """Read the file. Raises Unavailable or Malformed."""
    try:
        document = YAML(typ="safe", pure=True).load(StringIO(path.read_text("utf-8")))
    except OSError as problem:
        raise Unavailable(f"{path} cannot be read: {problem.strerror}") from problem
    except (YAMLError, UnicodeDecodeError) as problem:
        raise Malformed(f"{path} is not YAML: {str(problem).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise Malformed(f"{path} is not a configuration: expected keys and values at the top")
    folder = path.absolute().parent
    is_file = _text(document, "policy", "mode") in (None, "file")
    return PeerSettings(
        path=path,
        database=_database(document, folder, path),
        noise_key=_path(_text(document, "noise", "private_key_path"), folder),
        derp_key=_path(_text(document, "derp", "server", "private_key_path"), folder),
        policy=_path(_text(document, "policy", "path"), folder) if is_file else None,
    )


def _database(document: Mapping[str, Any], folder: Path, path: Path) -> str | None:
    kind = _text(document, "database", "type")
    if kind in (None, "sqlite", "sqlite3"):
        found = _path(_text(document, "database", "sqlite", "path"), folder)
        return str(found) if found else None
    if kind != "postgres":
        raise Malformed(f"{path}: database.type is {kind!r}: expected sqlite or postgres")
    return _postgres_url({key: _text(document, "database", "postgres", key) or "" for key in _POSTGRES})


def _postgres_url(given: Mapping[str, str]) -> str:
    """As the peer connects: `host` may be the folder of a Unix socket, `ssl` is true, false or a mode of libpq."""
    ssl = {"true": "require", "false": "disable", "": "prefer"}.get(given["ssl"].lower(), given["ssl"])
    user = quote(given["user"], safe="")
    password = f":{quote(given['pass'], safe='')}" if given["pass"] else ""
    socket = given["host"].startswith("/")
    port = given["port"] if given["port"] not in ("", "0") else ""
    host = "" if socket else given["host"]
    place = f"{host}:{port}" if port and not socket else host
    extra = f"&host={quote(given['host'], safe='')}" + (f"&port={port}" if port else "") if socket else ""
    return f"postgresql://{user}{password}@{place}/{quote(given['name'], safe='')}?sslmode={ssl}{extra}"


def _text(document: Mapping[str, Any], *keys: str) -> str | None:
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return None if value in (None, "") or isinstance(value, dict | list) else str(value)


def _path(text: str | None, folder: Path) -> Path | None:
    """Relative to the file, as the peer reads it."""
    return folder / Path(text).expanduser() if text else None
