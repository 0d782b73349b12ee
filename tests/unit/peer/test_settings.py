"""A Go headscale's configuration file: where its database, keys and policy are."""

from pathlib import Path

import pytest

from headscale.errors import HeadscaleError, Malformed
from headscale.peer.settings import read_settings
from headscale.peer.source import read_peer, shown

OLD = """
server_url: https://headscale.example
db_type: sqlite3  # gone, and no matter
noise: {private_key_path: keys/noise.key}
derp: {server: {private_key_path: /var/lib/headscale/derp.key}}
database:
  type: sqlite
  sqlite: {path: db.sqlite}
policy: {path: acl.hujson}
"""


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Keys that no version of ours knows are not looked at."""
    (tmp_path / "config.yaml").write_text(OLD)
    found = read_settings(tmp_path / "config.yaml")
    assert found.database == str(tmp_path / "db.sqlite")
    assert found.noise_key == tmp_path / "keys/noise.key"
    assert found.derp_key == Path("/var/lib/headscale/derp.key")
    assert found.policy == tmp_path / "acl.hujson"


@pytest.mark.parametrize(
    ("lines", "url"),
    [
        (
            "host: db.example\n    port: 5433\n    name: hs\n    user: me\n    pass: p@ss/word\n    ssl: true",
            "postgresql://me:p%40ss%2Fword@db.example:5433/hs?sslmode=require",
        ),
        (
            "host: /run/postgresql\n    name: hs\n    user: me\n    ssl: false",
            "postgresql://me@/hs?sslmode=disable&host=%2Frun%2Fpostgresql",
        ),
    ],
)
def test_postgres_is_a_url(tmp_path: Path, lines: str, url: str) -> None:
    """Of its keys; the password is never shown."""
    path = tmp_path / "config.yaml"
    path.write_text(
        f"database:\n  type: postgres\n  postgres:\n    {lines}\npolicy: {{mode: database, path: x}}\n"
    )
    found = read_settings(path)
    assert found.database == url
    assert found.policy is None
    assert "word" not in shown(url)


def test_what_is_no_configuration_is_refused(tmp_path: Path) -> None:
    """In words, with the file's name."""
    path = tmp_path / "config.yaml"
    for text in ("[", "- a", "database: {type: mysql}"):
        path.write_text(text)
        with pytest.raises(Malformed, match=r"config\.yaml"):
            read_settings(path)


def test_what_is_no_database_of_the_peers_is_refused(tmp_path: Path) -> None:
    """In words, with what to do."""
    for name, content in (("text", b"hello"), ("empty", b""), ("torn", b"SQLite format 3\x00" + b"x" * 5000)):
        (tmp_path / name).write_bytes(content)
    for name in ("text", "empty", "torn", "missing"):
        with pytest.raises(HeadscaleError, match=name):
            read_peer(str(tmp_path / name))
