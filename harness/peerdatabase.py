"""Databases of the Go headscale (the peer), as its releases from 0.23 to 0.30 leave them: tables, columns, cells.

Its tables promise almost nothing (keys, names and addresses may stand twice), and so do these: a test writes whatever
rows it likes. Source: the peer's schema and migrations, commit f20f1f12.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

RELEASES: Final = ("0.23", "0.24", "0.25", "0.26", "0.27", "0.28", "0.29", "0.30")
ZERO_TIME: Final = "0001-01-01 00:00:00+00:00"

_ID: Final = "INTEGER PRIMARY KEY AUTOINCREMENT"
_STAMPS: Final = ("created_at datetime", "updated_at datetime", "deleted_at datetime")
# The migration that came with a release, which tells its databases apart.
_MIGRATIONS: Final = (
    ("0.23", "202407191627"),
    ("0.24", "202409271400"),
    ("0.25", "202501221827"),
    ("0.26", "202502131714"),
    ("0.27", "202507021200"),
    ("0.28", "202511011637-preauthkey-bcrypt"),
    ("0.28", "202601121700-migrate-hostinfo-request-tags"),
    ("0.29", "202602201200-clear-tagged-node-user-id"),
    ("0.30", "202606191500-api-key-user-id"),
)
# A column and the releases that have it, from one and before another.
_TABLES: Final[Mapping[str, Sequence[tuple[str, str, str]]]] = {
    "migrations": (("id text PRIMARY KEY", "", ""),),
    "users": (
        (f"id {_ID}", "", ""),
        *((stamp, "", "") for stamp in _STAMPS),
        ("name text", "", ""),
        ("display_name text", "0.24", ""),
        ("email text", "0.24", ""),
        ("provider_identifier text", "0.24", ""),
        ("provider text", "0.24", ""),
        ("profile_pic_url text", "0.24", ""),
    ),
    "pre_auth_keys": (
        (f"id {_ID}", "", ""),
        ("key text", "", ""),
        ("prefix text", "0.28", ""),
        ("hash blob", "0.28", ""),
        ("user_id integer", "", ""),
        ("description text", "0.30", ""),
        ("reusable numeric", "", ""),
        ("ephemeral numeric DEFAULT false", "", ""),
        ("used numeric DEFAULT false", "", ""),
        ("tags text", "0.24", ""),
        ("expiration datetime", "", ""),
        ("revoked datetime", "0.30", ""),
        ("created_at datetime", "", ""),
    ),
    "pre_auth_key_acl_tags": (
        (f"id {_ID}", "", "0.24"),
        ("pre_auth_key_id integer", "", "0.24"),
        ("tag text", "", "0.24"),
    ),
    "api_keys": (
        (f"id {_ID}", "", ""),
        ("prefix text", "", ""),
        ("hash blob", "", ""),
        ("user_id integer", "0.30", ""),
        ("expiration datetime", "", ""),
        ("last_seen datetime", "", ""),
        ("created_at datetime", "", ""),
    ),
    "nodes": (
        (f"id {_ID}", "", ""),
        *((f"{name} text", "", "") for name in ("machine_key", "node_key", "disco_key", "endpoints")),
        *((f"{name} text", "", "") for name in ("host_info", "ipv4", "ipv6", "hostname")),
        ("given_name varchar(63)", "", ""),
        ("user_id integer", "", ""),
        ("register_method text", "", ""),
        ("forced_tags text", "", "0.28"),
        ("tags text", "0.28", ""),
        ("auth_key_id integer", "", ""),
        ("last_seen datetime", "", ""),
        ("expiry datetime", "", ""),
        ("approved_routes text", "0.26", ""),
        *((stamp, "", "") for stamp in _STAMPS),
    ),
    "routes": (
        (f"id {_ID}", "", "0.26"),
        *((stamp, "", "0.26") for stamp in _STAMPS),
        ("node_id integer", "", "0.26"),
        ("prefix text", "", "0.26"),
        *((f"{name} numeric", "", "0.26") for name in ("advertised", "enabled", "is_primary")),
    ),
    "policies": ((f"id {_ID}", "", ""), *((stamp, "", "") for stamp in _STAMPS), ("data text", "", "")),
    "database_versions": (
        ("id integer PRIMARY KEY", "0.29", ""),
        ("version text", "0.29", ""),
        ("updated_at datetime", "0.29", ""),
    ),
    "oauth_clients": (
        (f"id {_ID}", "0.30", ""),
        ("client_id text", "0.30", ""),
        ("secret_hash blob", "0.30", ""),
        ("scopes text", "0.30", ""),
        ("tags text", "0.30", ""),
        ("description text", "0.30", ""),
        ("user_id integer", "0.30", ""),
        ("created_at datetime", "0.30", ""),
        ("revoked datetime", "0.30", ""),
    ),
    "oauth_access_tokens": (
        (f"id {_ID}", "0.30", ""),
        ("prefix text", "0.30", ""),
        ("hash blob", "0.30", ""),
        ("client_id text", "0.30", ""),
        ("scopes text", "0.30", ""),
        ("tags text", "0.30", ""),
        ("expiration datetime", "0.30", ""),
        ("created_at datetime", "0.30", ""),
    ),
}
_POSTGRES: Final = (
    (_ID, "bigserial PRIMARY KEY"),
    ("numeric", "boolean"),
    ("blob", "bytea"),
    ("datetime", "timestamptz"),
    ("integer", "bigint"),
)


class PeerDatabase:
    """One of this release, so far empty. `foreign` are tables that other programs made in it."""

    def __init__(self, release: str, *, foreign: Sequence[str] = ()) -> None:
        assert release in RELEASES
        self.release = release
        self.foreign = tuple(foreign)
        self.rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for since, migration in _MIGRATIONS:
            if _at_least(release, since):
                self.rows["migrations"].append({"id": migration})
        if "database_versions" in self.tables:
            self.add("database_versions", version=f"v{release}.0")

    @property
    def tables(self) -> dict[str, list[str]]:
        """The columns of each table that the release has, with their types in SQLite."""
        found = {
            table: [text for text, since, until in columns if self._has(since, until)]
            for table, columns in _TABLES.items()
        }
        return {table: columns for table, columns in found.items() if columns}

    def columns(self, table: str) -> list[str]:
        """The names of the table's columns."""
        return [text.partition(" ")[0] for text in self.tables[table]]

    def add(self, table: str, **cells: Any) -> int:
        """A row, with the next id unless it names one; a column that the release lacks is a KeyError."""
        lacking = set(cells) - set(self.columns(table))
        if lacking:
            raise KeyError(f"{table} of {self.release} has no {', '.join(sorted(lacking))}")
        number: int = cells.setdefault("id", max((row["id"] for row in self.rows[table]), default=0) + 1)
        self.rows[table].append(cells)
        return number

    def user(self, name: str, **cells: Any) -> int:
        """A local user."""
        return self.add("users", name=name, created_at=stamp(), updated_at=stamp(), **cells)

    def node(self, number: int, user_id: int | None, *, tags: str | None = "[]", **cells: Any) -> int:
        """A node whose keys and addresses follow from the number; in a column of tags as the release calls it."""
        column = "tags" if "tags" in self.columns("nodes") else "forced_tags"
        wanted = {
            "machine_key": f"mkey:{number:064x}",
            "node_key": f"nodekey:{number:064x}",
            "disco_key": f"discokey:{number:064x}",
            "endpoints": f'["192.0.2.{number % 250}:41641"]',
            "host_info": f'{{"OS":"linux","Hostname":"host{number}"}}',
            "ipv4": f"100.64.{number // 250}.{number % 250 + 1}",
            "ipv6": f"fd7a:115c:a1e0::{number + 1:x}",
            "hostname": f"host{number}",
            "given_name": f"host{number}",
            "user_id": user_id,
            "register_method": "cli",
            "last_seen": stamp(),
            "created_at": stamp(),
            column: tags,
            **cells,
        }
        return self.add("nodes", **wanted)

    def write_sqlite(self, path: Path) -> Path:
        """As a SQLite file; its journal is a WAL, as the peer's is."""
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            for statement, values in self._statements("?"):
                connection.execute(statement, values)
            connection.commit()
        return path

    def write_postgres(self, url: str) -> str:
        """Into an empty PostgreSQL database."""
        import psycopg

        with psycopg.connect(url) as connection:
            for statement, values in self._statements("%s"):
                for sqlite, postgres in _POSTGRES if statement.startswith("CREATE") else ():
                    statement = statement.replace(sqlite, postgres)
                connection.execute(statement.encode(), values)
        return url

    def _statements(self, place: str) -> Iterator[tuple[str, list[Any]]]:
        for table, columns in self.tables.items():
            yield f'CREATE TABLE "{table}" ({", ".join(columns)})', []
        for table in self.foreign:
            yield f'CREATE TABLE "{table}" (id integer)', []
        for table, rows in self.rows.items():
            for row in rows:
                names, places = ", ".join(row), ", ".join([place] * len(row))
                yield f'INSERT INTO "{table}" ({names}) VALUES ({places})', list(row.values())  # noqa: S608

    def _has(self, since: str, until: str) -> bool:
        return _at_least(self.release, since or RELEASES[0]) and not (
            until and _at_least(self.release, until)
        )


def stamp(at: datetime | None = None) -> str:
    """A time as the peer writes it."""
    moment = at or datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}789+00:00"


def _at_least(release: str, other: str) -> bool:
    return RELEASES.index(release) >= RELEASES.index(other)
