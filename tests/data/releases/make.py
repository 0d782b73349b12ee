"""Keep the database of a release: its own tables, with rows in each of them, as SQL.

    git archive 36ea17c headscale | tar -x -C /tmp/then
    PYTHONPATH=/tmp/then python tests/data/releases/make.py tests/data/releases

It stands alone, because it runs with the package of that time: that makes the tables and reads the rows. A URL of an
empty PostgreSQL database as second argument keeps that one too, for which `pg_dump` is needed. Run it for each
migration that is released; what is kept already stays as it is.
"""

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import MetaData, create_engine, text
from sqlalchemy.engine import Engine

THEN = datetime(2026, 5, 1, 12, 30, 15, 123456, tzinfo=UTC)
LATER = THEN + timedelta(days=30)
MACHINE, NODE, DISCO = (f"{kind}:" for kind in ("mkey", "nodekey", "discokey"))
HOSTINFO = {
    "Hostname": "Laptop of Ännchen",
    "OS": "linux",
    "OSVersion": "6.1",
    "IPNVersion": "1.80.3",
    "RoutableIPs": ["10.20.0.0/16"],
    "Services": [{"Proto": "tcp", "Port": 22}],
    "NetInfo": {"PreferredDERP": 999, "WorkingUDP": False},
}


def _node(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "machine_key": MACHINE + f"{number:02x}" * 32,
        "node_key": NODE + f"{number + 16:02x}" * 32,
        "disco_key": DISCO + f"{number + 32:02x}" * 32,
        "hostname": f"host{number}",
        "given_name": f"host{number}",
        "ipv4": f"100.64.0.{number}",
        "ipv6": f"fd7a:115c:a1e0::{number:x}",
        "user_id": 1,
        "tags": "[]",
        "hostinfo": json.dumps(HOSTINFO, ensure_ascii=False),
        "endpoints": json.dumps([f"192.0.2.{number}:41641"]),
        "ephemeral": False,
        "authorized": True,
        "online": False,
        "cap_version": 113,
        "exit_dns": "[]",
        "register_method": "authkey",
        "auth_key_id": 1,
        "approved_routes": "[]",
        "attributes": "{}",
        "expiry": None,
        "last_seen": LATER,
        "created_at": THEN,
        **fields,
    }


# As the newest tables have them; what a release did not have yet is left out for it.
ROWS: dict[str, list[dict[str, Any]]] = {
    "users": [
        {
            "id": number,
            "name": name,
            "display_name": name.title(),
            "email": f"{name}@example.com",
            "provider": provider,
            "provider_identifier": f"https://idp.example/{number}" if provider else None,
            "profile_pic_url": "",
            "groups": '["eng"]',
            "sealed_refresh": b"\x00sealed" if provider else None,
            "role": role,
            "created_at": THEN,
        }
        for number, name, provider, role in ((1, "alice", "", "owner"), (2, "bjørn", "oidc", "member"))
    ],
    "pre_auth_keys": [
        {
            "id": 1,
            "prefix": "0123456789ab",
            "secret_hash": bytes(range(32)),
            "user_id": 1,
            "tags": "[]",
            "reusable": True,
            "ephemeral": False,
            "used": True,
            "preauthorized": True,
            "expiration": LATER,
            "description": "for the laptops",
            "revoked": None,
            "spent_at": None,
            "created_at": THEN,
        },
    ],
    "api_keys": [
        {
            "id": 1,
            "prefix": "ba9876543210",
            "secret_hash": bytes(32),
            "user_id": 1,
            "expiration": LATER,
            "created_at": THEN,
            "last_seen": None,
        },
    ],
    "oauth_clients": [
        {
            "id": 1,
            "prefix": "k0123456789a",
            "secret_hash": bytes(32),
            "scopes": '["devices:core"]',
            "tags": '["tag:ci"]',
            "description": "CI",
            "created_at": THEN,
            "updated_at": None,
        },
    ],
    "access_tokens": [
        {
            "id": 1,
            "prefix": "abcdefabcdef",
            "secret_hash": bytes(32),
            "client_id": 1,
            "scopes": '["devices:core"]',
            "tags": '["tag:ci"]',
            "any_tag": False,
            "expiration": LATER,
            "created_at": THEN,
        },
    ],
    "nodes": [
        _node(1, given_name="laptop", approved_routes='["10.20.0.0/16"]', expiry=LATER),
        _node(2, user_id=None, tags='["tag:ci"]', auth_key_id=None, register_method="cli", ipv6=None),
        _node(3, user_id=2, auth_key_id=None, register_method="oidc", ephemeral=True, authorized=False),
    ],
    "policies": [
        {"id": 1, "data": "{} // at first\r\n", "created_at": THEN},
        {
            "id": 2,
            "data": '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}',
            "created_at": LATER,
        },
    ],
    "audit_events": [
        {
            "id": 1,
            "at": THEN,
            "actor": "the socket",
            "action": "CREATE_USER",
            "details": "alice",
            "told_at": None,
            "changes": "[]",
        },
    ],
    "webhooks": [
        {
            "id": 1,
            "url": "https://receiver.example/hook",
            "provider": "slack",
            "subscriptions": '["nodeCreated"]',
            "sealed_secret": b"\x00sealed",
            "creator": "alice",
            "created_at": THEN,
            "modified_at": THEN,
        },
    ],
    "preferences": [{"id": 1, "device_approval": True, "choices": '{"magic_dns":false}'}],
    "elections": [{"id": 1, "held": "[]"}],
    "counters": [
        {"name": "user", "value": 2},
        {"name": "node", "value": 7},
        {"name": "pre_auth_key", "value": 1},
        {"name": "policy", "value": 2},
        {"name": "audit", "value": 1},
        {"name": "api_key", "value": 1},
        {"name": "webhook", "value": 1},
        {"name": "oauth_client", "value": 1},
        {"name": "access_token", "value": 1},
    ],
}
# A counter is there from when its table is.
COUNTED = {
    "policy": "policies",
    "audit": "audit_events",
    "api_key": "api_keys",
    "webhook": "webhooks",
    "oauth_client": "oauth_clients",
    "access_token": "access_tokens",
}
# What pg_dump says besides, or what only psql understands.
_NOISE = re.compile(r"^(--.*|SET .*|SELECT pg_catalog\.set_config.*|\\(un)?restrict .*|)\n", re.M)


def say(text: str) -> None:
    """To whoever runs it."""
    sys.stdout.write(f"{text}\n")


def fill(engine: Engine) -> None:
    """Put the rows in; each table of the database must have some."""
    found = MetaData()
    with engine.begin() as connection:
        found.reflect(connection)
        for table in found.sorted_tables:
            if table.name == "alembic_version":
                continue
            rows = [{c.name: row[c.name] for c in table.c if c.name in row} for row in ROWS[table.name]]
            if table.name == "counters":
                rows = [row for row in rows if COUNTED.get(row["name"], "users") in found.tables]
            connection.execute(table.delete())
            connection.execute(table.insert(), rows)


def revision(engine: Engine) -> str:
    """The last migration that made it."""
    with engine.connect() as connection:
        return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


async def read(opening: Any) -> None:
    """Make the tables, or read all rows, as a start does."""
    database = await opening
    loaded = await database.load(LATER)
    say(f"{len(loaded.users)} users, {len(loaded.nodes)} nodes")
    await database.close()


def keep_sqlite(folder: Path) -> None:
    """As sqlite3's own dump."""
    from headscale.db.database import open_sqlite

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "db.sqlite"
        asyncio.run(read(open_sqlite(path)))
        engine = create_engine(f"sqlite:///{path}")
        fill(engine)
        asyncio.run(read(open_sqlite(path)))
        with closing(sqlite3.connect(path)) as connection:
            dump = "\n".join(connection.iterdump())
    _write(folder / f"{revision_in(dump)}.sqlite.sql", dump)


def revision_in(dump: str) -> str:
    """The revision that a dump names."""
    found = re.search(r"""INSERT INTO "?alembic_version"? VALUES ?\('(\w+)'\)""", dump)
    assert found is not None
    return found[1]


def keep_postgres(folder: Path, url: str) -> None:
    """As pg_dump's, without what it says to psql."""
    from headscale.config.settings import PostgresSettings
    from headscale.db.postgres import open_postgres

    its = urlsplit(url)
    settings = PostgresSettings(
        host=its.hostname or "",
        port=its.port or 0,
        name=its.path.strip("/"),
        user=its.username or "",
        password=its.password or "",
        ssl="disable",
    )
    asyncio.run(read(open_postgres(settings)))
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    fill(engine)
    number = revision(engine)
    dump = subprocess.run(
        ["pg_dump", "--inserts", "--no-owner", "--no-privileges", url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    _write(folder / f"{number}.postgres.sql", _NOISE.sub("", dump))


def _write(path: Path, dump: str) -> None:
    if path.exists():
        say(f"{path} is kept already")
        return
    path.write_text(dump.rstrip("\n") + "\n")
    say(f"{path}: {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    keep_sqlite(Path(sys.argv[1]))
    if len(sys.argv) > 2:
        keep_postgres(Path(sys.argv[1]), sys.argv[2])
