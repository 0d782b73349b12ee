"""The peer's database as it was read: tables of rows whose cells may hold anything.

The reader (`source`) makes no difference between SQLite and PostgreSQL: a cell is a text, a whole number, a real
number, bytes or None.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

Cell = str | int | float | bytes | None

# What is read; everything else in the database is only named.
USERS: Final = "users"
NODES: Final = "nodes"
ROUTES: Final = "routes"
PRE_AUTH_KEYS: Final = "pre_auth_keys"
KEY_TAGS: Final = "pre_auth_key_acl_tags"
API_KEYS: Final = "api_keys"
POLICIES: Final = "policies"
OAUTH_CLIENTS: Final = "oauth_clients"
OAUTH_TOKENS: Final = "oauth_access_tokens"
MIGRATIONS: Final = "migrations"
VERSIONS: Final = "database_versions"
READ: Final = (
    *(USERS, NODES, ROUTES, PRE_AUTH_KEYS, KEY_TAGS, API_KEYS, POLICIES, OAUTH_CLIENTS, OAUTH_TOKENS),
    *(MIGRATIONS, VERSIONS),
)
# A row of each of these comes in or is left out; the last two only tell the database's age.
COUNTED: Final = READ[:-2]

# What JavaScript clients of the API can count to; the peer hands out small ones.
ID_MAX: Final = 2**53 - 1

# The migration with which a release begins, newest first (the ids are dates).
_RELEASES: Final = (
    ("202606191500", "0.30"),
    ("202606181200", "0.29.1"),
    ("202602201200", "0.29"),
    ("202511011637", "0.28"),
    ("202507021200", "0.27"),
    ("202502131714", "0.26"),
    ("202501221827", "0.25"),
    ("202409271400", "0.24"),
    ("20240", "0.23"),
)
# The peer writes the tags that clients asked for, and may have, into the nodes' own only since this one.
REQUEST_TAGS_MERGED: Final = "202601121700-migrate-hostinfo-request-tags"


@dataclass(frozen=True, slots=True)
class Row:
    """One row; `number` is its place in the table, from 1, for rows whose id is none."""

    table: str
    number: int
    cells: Mapping[str, Cell]

    def get(self, *columns: str) -> Cell:
        """The first of these columns that the table has; None where it has none of them."""
        return next((self.cells[column] for column in columns if column in self.cells), None)

    @property
    def id(self) -> int | None:
        """The id; None when it is no number that ours could have."""
        value = self.cells.get("id")
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
            value = int(value)
        return value if isinstance(value, int) and 0 < value <= ID_MAX else None

    @property
    def name(self) -> str:
        """The id for people."""
        return str(self.id) if self.id is not None else f"row {self.number}"


@dataclass(frozen=True, slots=True)
class PeerDatabase:
    """All of it. `ignored` are tables that are not the peer's, or that it no longer uses."""

    tables: Mapping[str, tuple[Row, ...]]
    ignored: tuple[str, ...] = ()
    where: str = field(default="")

    def rows(self, table: str) -> tuple[Row, ...]:
        """The table's rows by id; none when there is no such table."""
        return self.tables.get(table, ())

    def has(self, table: str) -> bool:
        """Whether there is such a table."""
        return table in self.tables

    @property
    def migrations(self) -> frozenset[str]:
        """The ids of those that it has seen."""
        return frozenset(str(row.cells.get("id")) for row in self.rows(MIGRATIONS))

    @property
    def release(self) -> str:
        """The peer's release that used it last, as far as the migrations tell."""
        for first, release in _RELEASES:
            if any(migration.startswith(first) for migration in self.migrations):
                return release
        return "unknown"

    def counted(self) -> Iterator[Row]:
        """Every row that is to come in or to be left out."""
        for table in COUNTED:
            yield from self.rows(table)
