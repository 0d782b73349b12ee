"""`headscale doctor` and records in PostgreSQL: what it finds there, and who has them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import text

from harness.servers.postgres import Postgres
from headscale.clock import SystemClock
from headscale.config.settings import Config, PostgresSettings
from headscale.db.serverinspection import inspect_postgres
from headscale.doctor.database import check_database
from headscale.doctor.findings import Case, Finding, Verdict
from headscale.doctor.policy import check_policy
from headscale.doctor.surroundings import check_socket
from headscale.records import Insert, PolicyText, User
from tests.builders import NOW
from tests.integration.databases import on_server

Load = Callable[..., Config]
POLICY_3 = PolicyText(id=3, text='{"acls": []}', created_at=NOW)


async def kept_in(postgres: PostgresSettings, config: Config) -> tuple[Case, dict[str, Finding]]:
    """What is found of records in PostgreSQL."""
    clock = SystemClock()
    case = Case(
        config=replace(config, postgres=postgres),
        url=config.tailnet.server_url,
        clock=clock,
        database=await inspect_postgres(postgres, clock.now()),
    )
    return case, {each.check: each for each in await check_database(case)}


def verdicts(found: dict[str, Finding]) -> dict[str, str]:
    return {name: str(each.verdict) for name, each in found.items()}


async def test_a_database_on_postgresql_is_connected_to(postgres: Postgres, load: Load) -> None:
    """It answers, is of this version, and a server that has it is named with where it is; nothing is changed."""
    place = on_server(postgres)
    _, found = await kept_in(place.settings, load())
    assert verdicts(found) == {"database": "SKIP"}
    assert "is still empty" in found["database"].what
    database = await place.open()
    await database.commit([Insert(User(id=1, name="alice", created_at=NOW)), Insert(POLICY_3)])
    case, found = await kept_in(place.settings, load())
    await database.ping()
    await database.close()
    assert verdicts(found) == {
        "database": "PASS",
        "database version": "PASS",
        "database integrity": "SKIP",
        "database lock": "PASS",
    }
    assert found["database"].what == f"{place.settings.shown} answers"
    assert found["database lock"].what.startswith(
        "a running server has it, connected from 127.0.0.1 since 20"
    )
    assert (await check_policy(case))[0].what == "policy 3 in the database can be used"
    _, found = await kept_in(place.settings, load())
    assert found["database lock"].what == "no server has it open"


@pytest.mark.parametrize(
    ("revision", "verdict", "words"),
    [("0001", Verdict.WARN, "pg_dump"), ("9999", Verdict.FAIL, "Install the version that wrote it")],
)
async def test_the_version_on_postgresql_is_compared(
    postgres: Postgres, load: Load, revision: str, verdict: Verdict, words: str
) -> None:
    place = on_server(postgres)
    await (await place.open()).close()
    with place.engine().begin() as raw:
        raw.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    _, found = await kept_in(place.settings, load())
    finding = found["database version"]
    assert (finding.verdict, words in finding.next) == (verdict, True)


async def test_what_keeps_from_postgresql_is_told_without_its_password(
    postgres: Postgres, load: Load
) -> None:
    """Nobody there, a wrong password, the database of a Go headscale."""
    place = on_server(postgres)
    with place.engine().begin() as raw:
        raw.execute(text("CREATE TABLE migrations (id text)"))
    for settings, words in (
        (place.settings, "it is the database of a Go headscale"),
        (replace(place.settings, port=1), "cannot be read"),
        (replace(place.settings, password="not-this-one"), "password authentication failed"),
    ):
        _, found = await kept_in(settings, load())
        assert verdicts(found) == {"database": "FAIL"}
        assert words in found["database"].what
        assert settings.shown in found["database"].what
        assert settings.password not in f"{found}"


async def test_a_server_elsewhere_that_has_the_database_is_no_server_here(
    postgres: Postgres, load: Load
) -> None:
    """There is no socket of it on this machine, and that may be right."""
    place = on_server(postgres)
    database = await place.open()
    case, _ = await kept_in(place.settings, load())
    await database.close()
    [finding] = await check_socket(case)
    assert (finding.verdict, "a second one does not start" in finding.next) == (Verdict.WARN, True)
