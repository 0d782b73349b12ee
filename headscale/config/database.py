"""`database.*`: which database keeps the records, a SQLite file or PostgreSQL."""

from pathlib import Path
from typing import Any, Final, Protocol

from headscale.config.settings import PostgresSettings, SqliteSettings

PORT_MAX: Final = 65535
PASS_PATH: Final = "database.postgres.pass_path"  # noqa: S105
# libpq's, from the weakest.
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Who writes true wants it; the peer leaves it to its driver then, which goes without where the server has none.
_SSL_WORDS: Final = {"false": "disable", "true": "require", "": "disable"}


class Values(Protocol):
    """The values as they were read, and where complaints go."""

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or the default."""

    def complain(self, name: str, what: str) -> None:
        """Something is wrong with this key."""


def sqlite_path(values: Values, data_dir: Path) -> Path:
    """Where the SQLite file is, or would be."""
    path: Path = values.get("database.sqlite.path", data_dir / "db.sqlite")
    return path


def sqlite(values: Values) -> SqliteSettings:
    """How the SQLite file keeps its journal."""
    default = SqliteSettings()
    return SqliteSettings(
        write_ahead_log=values.get("database.sqlite.write_ahead_log", default.write_ahead_log),
        checkpoint_pages=values.get("database.sqlite.wal_autocheckpoint", default.checkpoint_pages),
    )


def postgres(values: Values) -> PostgresSettings | None:
    """The PostgreSQL that is asked for; None for SQLite. Whatever is wrong with it becomes complaints."""
    if values.get("database.type") != "postgres":
        return None
    said = {name: values.get(f"database.postgres.{name}") or "" for name in ("host", "name", "user", "pass")}
    for name in ("host", "name", "user"):
        if not said[name]:
            values.complain(f"database.postgres.{name}", "PostgreSQL needs it: see docs/operating.md")
    if said["pass"] and values.get(PASS_PATH) is not None:
        values.complain("database.postgres.pass", "give the password here or by pass_path, not both")
    port = values.get("database.postgres.port") or 0
    if not 0 <= port <= PORT_MAX:
        values.complain(
            "database.postgres.port", f"expected 1 to {PORT_MAX}, or 0 for the usual one, got {port}"
        )
    word = str(values.get("database.postgres.ssl", "false")).lower()
    ssl = _SSL_WORDS.get(word, word)
    if ssl not in SSL_MODES:
        values.complain(
            "database.postgres.ssl", f"expected true, false or one of {', '.join(SSL_MODES)}, got {word!r}"
        )
    password = said["pass"] or _password_from_file(values)
    return PostgresSettings(
        host=said["host"], port=port, name=said["name"], user=said["user"], password=password, ssl=ssl
    )


def _password_from_file(values: Values) -> str:
    """What the file says but for white space around it. Empty when this process may not read it."""
    path: Path | None = values.get(PASS_PATH)
    if path is None:
        return ""
    try:
        return path.read_text("utf-8").strip()
    except PermissionError:
        return ""  # the database says so when it is asked; commands that do not ask it need no password
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not a text"
        values.complain(PASS_PATH, f"{path} cannot be read: {reason}")
        return ""
