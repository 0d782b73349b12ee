"""The tables, and how a record is a row of one.

The constraints repeat what the state steps promise (one owner of a node key, an address and a name; one node
of a machine for each user), so that a bug above is a refused commit and never a wrong row.
"""

import ipaddress
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
    true,
)
from sqlalchemy.engine import Dialect

from headscale.keys import DiscoKey, MachineKey, NodeKey
from headscale.records import (
    NO_CHOICES,
    AccessToken,
    ApiKey,
    AttributeValue,
    AuditEvent,
    Change,
    Choices,
    Counter,
    Elections,
    Node,
    OAuthClient,
    PolicyText,
    PreAuthKey,
    Preferences,
    Record,
    RegisterMethod,
    Role,
    User,
    Webhook,
)
from headscale.tailcfg.hostinfo import Hostinfo

# Named, so that a migration can name them on every database.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes, kept in UTC; a naive one is a bug and refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"naive datetime {value} would be stored")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Strings(TypeDecorator[tuple[str, ...]]):
    """A list of texts as a JSON array."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str:
        return msgspec.json.encode(value or ()).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...]:
        return msgspec.json.decode(value, type=tuple[str, ...]) if value else ()


class Attributes(TypeDecorator[Mapping[str, AttributeValue]]):
    """A node's attributes as a JSON object."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Mapping[str, AttributeValue] | None, dialect: Dialect) -> str:
        return msgspec.json.encode(dict(value or {})).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Mapping[str, AttributeValue]:
        return msgspec.json.decode(value, type=dict[str, AttributeValue]) if value else {}


class Changes(TypeDecorator[tuple[Change, ...]]):
    """What an audit event changed, as a JSON array."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[Change, ...] | None, dialect: Dialect) -> str:
        return msgspec.json.encode(value or ()).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[Change, ...]:
        return msgspec.json.decode(value, type=tuple[Change, ...]) if value else ()


class ChoicesJSON(TypeDecorator[Choices]):
    """What administrators chose, as a JSON object."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Choices | None, dialect: Dialect) -> str:
        return msgspec.json.encode(value or NO_CHOICES).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Choices:
        return msgspec.json.decode(value, type=Choices) if value else NO_CHOICES


class HostinfoJSON(TypeDecorator[Hostinfo]):
    """A node's host info as the JSON that the client would send."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Hostinfo | None, dialect: Dialect) -> str:
        return msgspec.json.encode(value or Hostinfo()).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Hostinfo:
        return msgspec.json.decode(value, type=Hostinfo) if value else Hostinfo()


users = Table(
    "users",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("name", String(255), nullable=False),
    Column("display_name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("provider", String(32), nullable=False),
    Column("provider_identifier", Text, unique=True),
    Column("profile_pic_url", Text, nullable=False),
    Column("groups", Strings, nullable=False, server_default="[]"),
    Column("sealed_refresh", LargeBinary),
    Column("role", String(16), nullable=False, server_default=Role.MEMBER.value),
    Column("created_at", UtcDateTime, nullable=False),
)
Index(
    "uq_users_owner",
    users.c.role,
    unique=True,
    sqlite_where=text("role = 'owner'"),
    postgresql_where=text("role = 'owner'"),
)
Index(
    "uq_users_local_name",
    users.c.name,
    unique=True,
    sqlite_where=text("provider_identifier IS NULL"),
    postgresql_where=text("provider_identifier IS NULL"),
)

pre_auth_keys = Table(
    "pre_auth_keys",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("prefix", String(12), nullable=False, unique=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("user_id", ForeignKey("users.id")),
    Column("tags", Strings, nullable=False),
    Column("reusable", Boolean, nullable=False),
    Column("ephemeral", Boolean, nullable=False),
    Column("used", Boolean, nullable=False),
    Column("preauthorized", Boolean, nullable=False, server_default=false()),
    Column("expiration", UtcDateTime),
    Column("description", Text, nullable=False, server_default=""),
    Column("revoked", UtcDateTime),
    Column("spent_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("prefix", String(12), nullable=False, unique=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("user_id", ForeignKey("users.id")),
    Column("expiration", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime),
)

oauth_clients = Table(
    "oauth_clients",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("prefix", String(12), nullable=False, unique=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("scopes", Strings, nullable=False),
    Column("tags", Strings, nullable=False),
    Column("description", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("prefix", String(12), nullable=False, unique=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("client_id", ForeignKey("oauth_clients.id"), nullable=False),
    Column("scopes", Strings, nullable=False),
    Column("tags", Strings, nullable=False),
    Column("any_tag", Boolean, nullable=False),
    Column("expiration", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("machine_key", String(69), nullable=False),
    Column("node_key", String(72), nullable=False, unique=True),
    Column("disco_key", String(73), nullable=False),
    Column("hostname", Text, nullable=False),
    Column("given_name", String(63), nullable=False, unique=True),
    Column("ipv4", String(15), unique=True),
    Column("ipv6", String(39), unique=True),
    Column("user_id", ForeignKey("users.id")),
    Column("tags", Strings, nullable=False),
    Column("hostinfo", HostinfoJSON, nullable=False),
    Column("endpoints", Strings, nullable=False),
    Column("ephemeral", Boolean, nullable=False),
    Column("authorized", Boolean, nullable=False, server_default=true()),
    Column("online", Boolean, nullable=False, server_default=false()),
    Column("cap_version", Integer, nullable=False, server_default="0"),
    Column("exit_dns", Strings, nullable=False, server_default="[]"),
    Column("register_method", String(16), nullable=False),
    Column("auth_key_id", ForeignKey("pre_auth_keys.id")),
    Column("approved_routes", Strings, nullable=False),
    Column("attributes", Attributes, nullable=False, server_default="{}"),
    Column("expiry", UtcDateTime),
    Column("last_seen", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
)
Index("uq_nodes_machine_user", nodes.c.machine_key, nodes.c.user_id, unique=True)
Index(
    "uq_nodes_machine_tagged",
    nodes.c.machine_key,
    unique=True,
    sqlite_where=text("user_id IS NULL"),
    postgresql_where=text("user_id IS NULL"),
)

policies = Table(
    "policies",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("data", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", String(64), nullable=False),
    Column("details", Text, nullable=False),
    Column("told_at", UtcDateTime),
    Column("changes", Changes, nullable=False, server_default="[]"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("url", Text, nullable=False),
    Column("provider", String(32), nullable=False),
    Column("subscriptions", Strings, nullable=False),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("creator", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("modified_at", UtcDateTime, nullable=False),
)

preferences = Table(
    "preferences",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("device_approval", Boolean, nullable=False),
    Column("choices", ChoicesJSON, nullable=False, server_default="{}"),
)

elections = Table(
    "elections",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("held", Strings, nullable=False),
)

# Which version of the program had the database last. Every later version reads this table, so that it stays as it is.
program = Table(
    "program",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Text, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
# The row of `counters` that tells which commit was the last (PostgreSQL); the others are `Counter`s.
LAST_COMMIT: Final = "last_commit"


def table_of(record: Record) -> Table:
    """The table that keeps records of this kind."""
    match record:
        case User():
            return users
        case PreAuthKey():
            return pre_auth_keys
        case ApiKey():
            return api_keys
        case Webhook():
            return webhooks
        case OAuthClient():
            return oauth_clients
        case AccessToken():
            return access_tokens
        case Node():
            return nodes
        case PolicyText():
            return policies
        case Preferences():
            return preferences
        case Elections():
            return elections
        case AuditEvent():
            return audit_events


def row_of(record: Record) -> dict[str, Any]:
    """The record's columns; what is only known in memory (expired, ending) has none."""
    if isinstance(record, PolicyText):
        return {"id": record.id, "data": record.text, "created_at": record.created_at}
    names, values_of = _columns(table_of(record))
    row: dict[str, Any] = dict(zip(names, values_of(record), strict=True))
    if isinstance(record, User):
        row["role"] = record.role.value
    if isinstance(record, Node):
        row["ipv4"] = str(record.ipv4) if record.ipv4 else None
        row["ipv6"] = str(record.ipv6) if record.ipv6 else None
        row["register_method"] = record.register_method.value
    return row


@cache
def _columns(table: Table) -> tuple[tuple[str, ...], Callable[[Record], tuple[Any, ...]]]:
    """Their names, and what reads them off a record; asking SQLAlchemy for them costs more than a row."""
    names = tuple(column.name for column in table.columns)
    return names, attrgetter(*names)


def user_of(row: Any) -> User:
    """A `users` row as a record."""
    columns = dict(row._mapping)
    kept = {"sealed_refresh": columns["sealed_refresh"] or b"", "role": Role(columns["role"])}
    return User(**{**columns, **kept})


def key_of(row: Any) -> PreAuthKey:
    """A `pre_auth_keys` row as a record."""
    return PreAuthKey(**row._mapping)


def api_key_of(row: Any) -> ApiKey:
    """An `api_keys` row as a record."""
    return ApiKey(**row._mapping)


def webhook_of(row: Any) -> Webhook:
    """A `webhooks` row as a record."""
    return Webhook(**row._mapping)


def client_of(row: Any) -> OAuthClient:
    """An `oauth_clients` row as a record."""
    return OAuthClient(**row._mapping)


def token_of(row: Any) -> AccessToken:
    """An `access_tokens` row as a record."""
    return AccessToken(**row._mapping)


def node_of(row: Any, now: datetime) -> Node:
    """A `nodes` row as a record; online when it was when the server ended, until it is known better."""
    columns = dict(row._mapping)
    columns["machine_key"] = MachineKey(columns["machine_key"])
    columns["node_key"] = NodeKey(columns["node_key"])
    columns["disco_key"] = DiscoKey(columns["disco_key"])
    columns["ipv4"] = ipaddress.IPv4Address(columns["ipv4"]) if columns["ipv4"] else None
    columns["ipv6"] = ipaddress.IPv6Address(columns["ipv6"]) if columns["ipv6"] else None
    columns["register_method"] = RegisterMethod(columns["register_method"])
    expiry = columns["expiry"]
    return Node(**columns, expired=expiry is not None and expiry <= now)


def policy_of(row: Any) -> PolicyText:
    """A `policies` row as a record."""
    return PolicyText(id=row.id, text=row.data, created_at=row.created_at)


def event_of(row: Any) -> AuditEvent:
    """An `audit_events` row as a record."""
    return AuditEvent(**row._mapping)


def preferences_of(row: Any) -> Preferences:
    """The `preferences` row as a record."""
    return Preferences(**row._mapping)


COUNTED: dict[Counter, Table] = {
    Counter.USER: users,
    Counter.NODE: nodes,
    Counter.PRE_AUTH_KEY: pre_auth_keys,
    Counter.POLICY: policies,
    Counter.AUDIT: audit_events,
    Counter.API_KEY: api_keys,
    Counter.WEBHOOK: webhooks,
    Counter.OAUTH_CLIENT: oauth_clients,
    Counter.ACCESS_TOKEN: access_tokens,
}
