"""A database of a test's own, on either kind, and a look into it that is not ours."""

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import pytest
from sqlalchemy import Engine, MetaData, create_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex, CreateTable

from harness.servers.postgres import Postgres
from headscale.config.settings import PostgresSettings
from headscale.db.database import Database, open_sqlite
from headscale.db.postgres import open_postgres


class Place(Protocol):
    """Where a database is."""

    async def open(self, *, logs_statements: bool = False) -> Database:
        """As a server does."""

    def engine(self) -> Engine:
        """For a look past the server."""

    def program(self, *lines: str) -> str:
        """A Python program that opens it as `database` and then does this."""


@dataclass(frozen=True)
class OnFile:
    """SQLite."""

    path: Path

    async def open(self, *, logs_statements: bool = False) -> Database:
        return await open_sqlite(self.path, logs_statements=logs_statements)

    def engine(self) -> Engine:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return create_engine(f"sqlite:///{self.path}", poolclass=NullPool)

    def program(self, *lines: str) -> str:
        module, call = "headscale.db.database", f"open_sqlite(pathlib.Path({str(self.path)!r}))"
        return _program(module, call, lines)


@dataclass(frozen=True)
class OnServer:
    """PostgreSQL."""

    settings: PostgresSettings

    async def open(self, *, logs_statements: bool = False) -> Database:
        return await open_postgres(self.settings, logs_statements=logs_statements)

    def engine(self) -> Engine:
        its = self.settings
        arguments: dict[str, Any] = {
            "host": its.host,
            "port": its.port,
            "dbname": its.name,
            "user": its.user,
            "password": its.password,
        }
        return create_engine("postgresql+psycopg://", connect_args=arguments, poolclass=NullPool)

    def program(self, *lines: str) -> str:
        its = self.settings
        settings = (
            f"PostgresSettings(host={its.host!r}, port={its.port}, name={its.name!r}, user={its.user!r}, "
            f"password={its.password!r}, ssl={its.ssl!r})"
        )
        module, call = "headscale.db.postgres", f"open_postgres({settings})"
        return _program(module, call, ("from headscale.config.settings import PostgresSettings", *lines))


def _program(module: str, call: str, lines: tuple[str, ...]) -> str:
    name = call.partition("(")[0]
    imports = [line for line in lines if line.startswith("from")]
    rest = [line for line in lines if not line.startswith("from")]
    start = ["import asyncio, pathlib, sys", f"from {module} import {name}", *imports]
    return "\n".join([*start, f"database = asyncio.run({call})", *rest])


def on_server(postgres: Postgres, name: str = "", *, over_socket: bool = False) -> OnServer:
    """A new empty database on it."""
    name = name or f"db{uuid.uuid4().hex}"
    postgres.create(name)
    return OnServer(
        PostgresSettings(
            host=str(postgres.socket) if over_socket else postgres.host,
            port=postgres.port,
            name=name,
            user="headscale",
            password=postgres.password,
            ssl="disable",
        )
    )


@pytest.fixture(name="path")
def database_path(tmp_path: Path) -> Path:
    """Where there is no file so far."""
    return tmp_path / "data" / "db.sqlite"


@pytest.fixture(name="place", params=["sqlite", "postgres"])
def either_place(request: pytest.FixtureRequest, path: Path) -> Place:
    """Where a database can be, one of each kind."""
    if request.param == "sqlite":
        return OnFile(path)
    return on_server(request.getfixturevalue("postgres"))


def schema_of(place: Place) -> str:
    """All tables, columns, indexes and constraints, as the database tells them."""
    found = MetaData()
    with place.engine().connect() as connection:
        found.reflect(connection)
        names = sorted(found.tables)
        made = [
            (
                CreateTable(table),
                *(CreateIndex(index) for index in sorted(table.indexes, key=lambda i: str(i.name))),
            )
            for name in names
            for table in [found.tables[name]]
        ]
        return "".join(str(part.compile(connection)) for parts in made for part in parts)


class Wire:
    """A way to PostgreSQL that can lose a commit: what was asked, or what was answered; then it is cut.

    `is_open`: whether new connections get through. Where it is not cut at both ends, the database notices nothing.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._to = postgres.host, postgres.port
        self._tasks: set[asyncio.Task[None]] = set()
        self._left: list[asyncio.StreamWriter] = []
        self.port = 0
        self.loses: str = ""
        self.is_open = True
        self.is_cut_at_both_ends = True
        self.lost = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_problem: object) -> None:
        self._server.close()
        for end in self._left:
            end.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            writer.close()
            return
        there, to_there = await asyncio.open_connection(*self._to)
        both = [
            asyncio.create_task(self._questions(reader, to_there)),
            asyncio.create_task(self._answers(there, writer)),
        ]
        self._tasks.update(both)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        writer.close()
        if self.is_cut_at_both_ends:
            to_there.close()
        else:
            self._left.append(to_there)

    async def _questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if b"COMMIT" in data and self.loses:
                if self.loses == "answer":
                    self.loses = "now"
                else:
                    self._lose()
                    return
            writer.write(data)

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.loses == "now":
                self._lose()
                return
            writer.write(data)

    def _lose(self) -> None:
        self.loses = ""
        self.lost.set()
