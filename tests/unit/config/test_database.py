"""`database.*`: the Go headscale's keys for PostgreSQL, and what is wrong with them."""

from pathlib import Path

import pytest

from headscale.config.dump import effective
from headscale.config.file import BadConfig, read_config
from headscale.config.settings import PostgresSettings, SqliteSettings

WHOLE = """
database:
  type: postgres
  postgres:
    host: db.example
    port: 5433
    name: hs
    user: me
    pass: geheim
    ssl: verify-full
    max_open_conns: 10
    max_idle_conns: 10
    conn_max_idle_time_secs: 3600
"""


def test_the_keys_of_the_go_headscale_are_read() -> None:
    config = read_config(Path("/c.yaml"), WHOLE, {})
    assert config.postgres == PostgresSettings(
        host="db.example", port=5433, name="hs", user="me", password="geheim", ssl="verify-full"
    )
    pool = ("conn_max_idle_time_secs", "max_idle_conns", "max_open_conns")
    assert config.later == tuple(f"database.postgres.{name}" for name in pool)


def test_how_sqlite_keeps_its_journal() -> None:
    """As the Go headscale's keys say; and whether statements are logged."""
    config = read_config(Path("/c.yaml"), "", {})
    assert config.sqlite == SqliteSettings(write_ahead_log=True, checkpoint_pages=1000)
    assert not config.logs_statements
    text = "database: {debug: true, sqlite: {write_ahead_log: false, wal_autocheckpoint: 0}}"
    config = read_config(Path("/c.yaml"), text, {})
    assert config.sqlite == SqliteSettings(write_ahead_log=False, checkpoint_pages=0)
    assert config.logs_statements
    assert config.later == ()
    assert effective(config)["database"] == {
        "type": "sqlite",
        "debug": True,
        "sqlite": {"path": str(config.sqlite_path), "write_ahead_log": False, "wal_autocheckpoint": 0},
    }


def test_the_password_may_come_from_the_environment_and_is_never_shown() -> None:
    config = read_config(Path("/c.yaml"), WHOLE, {"HEADSCALE_DATABASE_POSTGRES_PASS": "anders"})
    assert config.postgres is not None
    assert config.postgres.password == "anders"
    assert config.postgres.shown == "postgresql://me@db.example:5433/hs"
    assert "anders" not in f"{config!r}{effective(config)}"
    assert effective(config)["database"]["postgres"]["host"] == "db.example"


def test_the_password_may_lie_in_a_file(tmp_path: Path) -> None:
    """A secret of a container's or of systemd's, with the newline that an editor left."""
    file = tmp_path / "password"
    file.write_text("s3 cret\n")
    config = read_config(Path("/c.yaml"), WHOLE.replace("pass: geheim", f"pass_path: {file}"), {})
    assert config.postgres is not None
    assert config.postgres.password == "s3 cret"
    assert "s3 cret" not in f"{config!r}{effective(config)}"


@pytest.mark.parametrize(
    ("password", "complaint"),
    [
        ("pass_path: /nowhere/password", "/nowhere/password cannot be read: No such file or directory"),
        ("pass_path: /etc/hostname, pass: geheim", "give the password here or by pass_path, not both"),
    ],
)
def test_a_password_that_is_not_there_or_twice_is_said(password: str, complaint: str) -> None:
    postgres = f"{{host: db, name: hs, user: me, {password}}}"
    with pytest.raises(BadConfig, match=complaint):
        read_config(Path("/c.yaml"), f"database: {{type: postgres, postgres: {postgres}}}", {})


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("false", "disable"),
        ("true", "require"),
        ('"require"', "require"),
        ('"true"', "require"),
        ("", "disable"),
    ],
)
def test_ssl_is_a_word_or_a_choice(written: str, mode: str) -> None:
    """Off unless it is said, as the Go headscale takes it; true never goes without."""
    config = read_config(Path("/c.yaml"), WHOLE.replace("verify-full", written), {})
    assert config.postgres is not None
    assert config.postgres.ssl == mode


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "ssl: verify-full",
            "ssl: maybe",
            "/c.yaml:10: database.postgres.ssl: expected true, false or one of disable",
        ),
        ("port: 5433", "port: 70000", "/c.yaml:6: database.postgres.port: expected 1 to 65535"),
        ("host: db.example", "host:", "database.postgres.host: PostgreSQL needs it"),
        ("name: hs", "", "database.postgres.name: PostgreSQL needs it"),
        ("user: me", "", "database.postgres.user: PostgreSQL needs it"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(old: str, new: str, complaint: str) -> None:
    with pytest.raises(BadConfig) as problem:
        read_config(Path("/c.yaml"), WHOLE.replace(old, new), {})
    assert complaint in str(problem.value)
    assert "geheim" not in str(problem.value)


def test_sqlite_does_not_look_at_them() -> None:
    config = read_config(Path("/c.yaml"), WHOLE.replace("type: postgres", "type: sqlite"), {})
    assert config.postgres is None
