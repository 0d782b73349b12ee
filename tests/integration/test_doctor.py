"""The doctor looks at the configuration, files, database and policy, and `headscale doctor` tells of all of it."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from headscale.clock import SystemClock
from headscale.config.settings import Config
from headscale.db.database import open_sqlite
from headscale.db.inspection import inspect_sqlite, open_to_look
from headscale.db.migrate import newest
from headscale.doctor import examination
from headscale.doctor.configuration import check_configuration
from headscale.doctor.database import check_database
from headscale.doctor.files import check_files
from headscale.doctor.findings import Case, Finding, Verdict
from headscale.doctor.policy import check_policy
from headscale.keys import generate_private_key
from tests.integration.commands import Ran, run
from tests.integration.fakes import Join

Load = Callable[..., Config]


@pytest.fixture
async def config(load: Load) -> Config:
    """With the data that a first start makes, as far as the doctor looks."""
    made = load()
    made.data_dir.mkdir(mode=0o700)
    assert made.derp is not None
    for path in (made.noise_key_path, made.derp.key_path):
        path.touch(0o600)
        path.write_text(generate_private_key().reveal())
    await (await open_sqlite(made.sqlite_path)).close()
    return made


def case_of(config: Config) -> Case:
    clock = SystemClock()
    seen = inspect_sqlite(config.sqlite_path, clock.now())
    return Case(config=config, url=config.tailnet.server_url, clock=clock, database=seen)


def by_check(findings: list[Finding]) -> dict[str, Verdict]:
    """The worst of each."""
    order = [Verdict.FAIL, Verdict.WARN, Verdict.SKIP, Verdict.PASS]
    found: dict[str, Verdict] = {}
    for each in findings:
        found[each.check] = min(found.get(each.check, Verdict.PASS), each.verdict, key=order.index)
    return found


def all_pass(findings: list[Finding]) -> bool:
    return {each.verdict for each in findings} == {Verdict.PASS}


# ---- the database


async def database_of(config: Config) -> dict[str, Verdict]:
    return by_check(await check_database(case_of(config)))


def spoil(config: Config, *statements: str) -> None:
    with closing(sqlite3.connect(config.sqlite_path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_looking_at_a_database_neither_writes_nor_makes_files(config: Config) -> None:
    before = sorted(config.data_dir.iterdir())
    with closing(open_to_look(config.sqlite_path)) as connection:
        connection.execute("SELECT * FROM nodes").fetchall()
        assert sorted(config.data_dir.iterdir()) == before
        connection.execute("PRAGMA query_only=OFF")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM nodes")


async def test_a_good_database_passes_and_nothing_is_left_beside_it(config: Config) -> None:
    before = {path.name: path.read_bytes() for path in config.data_dir.iterdir()}
    assert all_pass(await check_database(case_of(config)))
    assert {path.name: path.read_bytes() for path in config.data_dir.iterdir()} == before


async def test_a_database_in_use_is_looked_at_and_left_alone(config: Config) -> None:
    database = await open_sqlite(config.sqlite_path)
    try:
        findings = await check_database(case_of(config))
        await database.ping()
    finally:
        await database.close()
    assert all_pass(findings)
    assert findings[-1].what == "a running server has it"
    assert (await check_database(case_of(config)))[-1].what == "no server has it open"


async def test_a_lock_that_another_holds_for_good_is_seen(config: Config) -> None:
    with locked(Path(f"{config.sqlite_path}.lock")):
        assert (await check_database(case_of(config)))[-1].what == "a running server has it"


async def test_what_is_no_database_fails(config: Config) -> None:
    config.sqlite_path.write_bytes(b"this is a letter, and no database" * 100)
    assert await database_of(config) == {"database": Verdict.FAIL}


async def test_a_damaged_database_fails(config: Config) -> None:
    data = bytearray(config.sqlite_path.read_bytes())
    data[8192:20480] = os.urandom(12288)
    config.sqlite_path.write_bytes(data)
    found = await database_of(config)
    assert Verdict.FAIL in found.values()
    assert found.keys() <= {"database", "database integrity"}


async def test_an_index_that_disagrees_with_its_table_fails(config: Config) -> None:
    """Nothing but a look at every row finds this."""
    spoil(
        config,
        "INSERT INTO api_keys (id, prefix, secret_hash, created_at) VALUES (1, 'aaaaaaaaaaaa', x'00', '')",
    )
    data = config.sqlite_path.read_bytes()
    assert data.count(b"aaaaaaaaaaaa") == 2
    config.sqlite_path.write_bytes(data.replace(b"aaaaaaaaaaaa", b"bbbbbbbbbbbb", 1))
    assert await database_of(config) == {"database integrity": Verdict.FAIL}


async def test_a_reference_to_nothing_fails(config: Config) -> None:
    spoil(
        config,
        "PRAGMA foreign_keys=OFF",
        "INSERT INTO pre_auth_keys (id, prefix, secret_hash, user_id, tags, reusable, ephemeral, used, created_at) "
        "VALUES (1, 'p', x'00', 77, '[]', 0, 0, 0, '2026-01-01')",
    )
    assert await database_of(config) == {"database integrity": Verdict.FAIL}


async def test_the_same_value_twice_fails(config: Config) -> None:
    """Where the constraint has gone, as it does in a table that was written by hand."""
    spoil(
        config,
        "CREATE TABLE copy AS SELECT * FROM api_keys",
        "DROP TABLE api_keys",
        "ALTER TABLE copy RENAME TO api_keys",
        *(
            f"INSERT INTO api_keys (id, prefix, secret_hash, created_at) VALUES ({n}, 'same', x'00', '2026-01-01')"
            for n in (4, 5)
        ),
    )
    findings = [each for each in await check_database(case_of(config)) if each.verdict is Verdict.FAIL]
    assert [each.what for each in findings] == ["API key same is in rows 4,5 of api_keys"]


@pytest.mark.parametrize(
    ("revision", "verdict"), [("0001", Verdict.WARN), (newest(), Verdict.PASS), ("9999", Verdict.FAIL)]
)
async def test_the_version_is_compared(config: Config, revision: str, verdict: Verdict) -> None:
    spoil(config, f"UPDATE alembic_version SET version_num = '{revision}'")
    assert (await database_of(config))["database version"] is verdict


async def test_a_database_of_something_else_fails(config: Config) -> None:
    config.sqlite_path.unlink()
    spoil(config, "CREATE TABLE machines (id INTEGER)")
    assert (await database_of(config))["database version"] is Verdict.FAIL


# ---- files


async def files_of(config: Config) -> dict[str, Verdict]:
    return by_check(await check_files(case_of(config)))


async def test_files_of_a_first_start_pass(config: Config) -> None:
    assert all_pass(await check_files(case_of(config)))


@pytest.mark.parametrize(
    ("mode", "verdict"), [(0o644, Verdict.FAIL), (0o640, Verdict.WARN), (0o400, Verdict.PASS)]
)
async def test_a_key_that_others_may_read_is_found(config: Config, mode: int, verdict: Verdict) -> None:
    config.noise_key_path.chmod(mode)
    assert (await files_of(config))["noise key"] is verdict


async def test_a_key_that_is_none_and_one_that_serves_twice_are_found(config: Config) -> None:
    assert config.derp is not None
    config.derp.key_path.write_text(config.noise_key_path.read_text())
    assert (await files_of(config))["relay key"] is Verdict.FAIL
    config.noise_key_path.write_text("privkey:short")
    assert (await files_of(config))["noise key"] is Verdict.FAIL


@pytest.mark.parametrize(
    ("mode", "verdict"), [(0o777, Verdict.FAIL), (0o755, Verdict.WARN), (0o750, Verdict.PASS)]
)
async def test_a_data_directory_that_is_open_is_found(config: Config, mode: int, verdict: Verdict) -> None:
    config.data_dir.chmod(mode)
    assert (await files_of(config))["data directory"] is verdict


async def test_before_the_first_start_files_are_skipped(load: Load) -> None:
    assert set((await files_of(load())).values()) == {Verdict.SKIP}


# ---- the configuration and the policy


async def test_keys_without_effect_and_an_address_of_this_machine_alone_are_warned_of(load: Load) -> None:
    assert all_pass(await check_configuration(case_of(load())))
    config = load('disable_check_updates: true\nunix_socket_permission: "0777"')
    config = replace(config, tailnet=replace(config.tailnet, server_url="http://127.0.0.1:8080"))
    assert by_check(await check_configuration(case_of(config))) == {
        "configuration": Verdict.WARN,
        "server_url": Verdict.WARN,
        "socket mode": Verdict.FAIL,
    }


POLICY = """{
  "groups": {"group:eng": ["alice@"], "group:ghosts": ["gone@"]},
  "acls": [
    {"action": "accept", "src": ["group:eng"], "dst": ["*:22"]},
    {"action": "accept", "src": ["nobody@example.com"], "dst": ["*:80"]},
  ],
  "tests": [{"src": "alice@", "accept": ["100.64.0.9:%s"]}],
}"""


async def policy_of(load: Load, text: str, *, users: bool = True) -> list[Finding]:
    """What is found of this text in a file, for a tailnet with the user alice."""
    config = load("policy: {mode: file, path: policy.hujson}")
    assert config.policy.path is not None
    config.policy.path.write_text(text)
    if users:
        await (await open_sqlite(config.sqlite_path)).close()
        spoil(
            config,
            "INSERT INTO users (id, name, display_name, email, provider, profile_pic_url, created_at) "
            "VALUES (1, 'alice', '', '', '', '', '2026-01-01')",
        )
    return await check_policy(case_of(config))


async def test_a_policy_is_worked_out_for_the_users_that_there_are(load: Load) -> None:
    found = {each.check: each for each in await policy_of(load, POLICY % 22)}
    assert {name: str(each.verdict) for name, each in found.items()} == {
        "policy": "PASS",
        "policy tests": "PASS",
        "policy users": "WARN",
        "policy groups": "WARN",
    }
    assert found["policy users"].what == "no user is called nobody@example.com"
    assert found["policy groups"].what == "nobody is in group:ghosts"


async def test_a_test_of_the_policy_that_fails_is_told(load: Load) -> None:
    assert by_check(await policy_of(load, POLICY % 443))["policy tests"] is Verdict.FAIL


async def test_a_policy_that_cannot_be_read_is_told_with_its_place(load: Load) -> None:
    [finding] = await policy_of(load, '{"acls": [}', users=False)
    assert (finding.verdict, "policy.hujson:1:" in finding.what) == (Verdict.FAIL, True)
    config = load("policy: {mode: file, path: missing.hujson}")
    [finding] = await check_policy(case_of(config))
    assert finding.verdict is Verdict.FAIL


async def test_a_policy_in_the_database_is_looked_at(config: Config) -> None:
    assert by_check(await check_policy(case_of(config))) == {"policy": Verdict.SKIP}
    spoil(config, "INSERT INTO policies (id, data, created_at) VALUES (3, '{\"acls\": []}', '2026-01-01')")
    finding = (await check_policy(case_of(config)))[0]
    assert (finding.verdict, finding.what) == (Verdict.PASS, "policy 3 in the database can be used")


# ---- the command


async def doctor(variables: Mapping[str, str], *words: str) -> Ran:
    return await run("doctor", *words, given=variables)


async def test_a_running_server_is_in_good_health(server: InProcessServer, join: Join) -> None:
    """Of the whole examination nothing fails, and a client that is in does not notice it."""
    one = await join("one")
    stream = await one.stream()
    ran = await doctor(server.settings.variables, "-o", "json")
    assert (ran.code, ran.err, ran.document["ok"]) == (0, "", True), ran.out
    found = {each["check"]: each["verdict"] for each in ran.document["findings"]}
    for check in (
        "socket",
        "way: long polling",
        "relay headscale/999 TLS",
        "relay headscale/999 STUN",
        "clock",
    ):
        assert found[check] == "PASS"
    await stream.quiet(0.1)
    assert server.app.vitals.control_sessions() == 1


async def test_what_fails_is_said_with_what_to_do_and_an_exit_code(server: InProcessServer) -> None:
    server.settings.data.joinpath("noise_private.key").chmod(0o644)
    ran = await doctor(server.settings.variables, "--problems")
    assert (ran.code, ran.err) == (1, "")
    assert "FAIL  noise key" in ran.out
    assert f"→ chmod 600 {server.settings.data}/noise_private.key" in ran.out
    assert "PASS  " not in ran.out


async def test_another_url_is_tried_when_asked(server: InProcessServer) -> None:
    ran = await doctor(server.settings.variables, "--from", "http://127.0.0.1:1")
    assert ran.code == 1
    assert "FAIL  way: connection" in ran.out
    ran = await doctor(server.settings.variables, "--from", "ftp://x")
    assert (ran.code, "is not http:// or https:// with a host" in ran.err) == (2, True)


async def test_json_is_a_name_for_the_output_that_scripts_read(tmp_path: Path) -> None:
    """As with the answers about policies."""
    file = tmp_path / "config.yaml"
    file.write_text("sever_url: y\n")
    as_json = await doctor({}, "-c", str(file), "--json")
    assert as_json == await doctor({}, "-c", str(file), "-o", "json")
    assert as_json.document["ok"] is False


async def test_a_configuration_that_cannot_be_used_is_a_finding(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("grpc_listen_addr: x\nsever_url: y\n")
    ran = await doctor({}, "-c", str(file), "-o", "json")
    assert ran.code == 1
    told = [each["what"] for each in ran.document["findings"]]
    assert [f"{file}:{line}" in text for line, text in enumerate(told, start=1)] == [True, True]


async def test_a_private_authority_is_trusted_when_the_system_is_told(tmp_path: Path) -> None:
    """As everywhere: by SSL_CERT_FILE."""
    settings = local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5), with_tls=True)
    server = InProcessServer(settings)
    await server.start()
    try:
        authority = tmp_path / "authority.pem"
        assert settings.authority is not None
        authority.write_bytes(settings.authority)
        environment = {**settings.variables, "SSL_CERT_FILE": str(authority)}
        assert (await doctor(environment)).code == 0
        trustme.CA().cert_pem.write_to_path(authority)
        ran = await doctor(environment)
        assert ran.code == 1
        assert "FAIL  TLS certificate" in ran.out
    finally:
        await server.close()


async def test_a_check_that_breaks_or_hangs_is_a_finding_and_not_the_end(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check_breaks(case: Case) -> list[Finding]:
        raise RuntimeError("inside")

    async def check_hangs(case: Case) -> list[Finding]:
        await asyncio.sleep(60)
        return []

    checks: Any = (check_breaks, check_hangs, check_files)
    monkeypatch.setattr(examination, "CHECKS", checks)
    monkeypatch.setattr(examination, "CHECK_S", 0.2)
    findings = await examination.examine_all(config)
    found = by_check(findings)
    assert (found["breaks"], found["hangs"], found["noise key"]) == (Verdict.FAIL, Verdict.FAIL, Verdict.PASS)
    assert [each.what for each in findings[:2]] == [
        "this check broke: RuntimeError",
        "this check did not end within 0.2 s",
    ]
