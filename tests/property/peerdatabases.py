"""Databases of the Go headscale as operators have them: most rows are sound, and some cells hold what old releases,
editors and crashes left in them.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from hypothesis import strategies as st

from harness.peerdatabase import RELEASES, ZERO_TIME, PeerDatabase, stamp
from headscale.records import TAGGED_USER_ID
from tests.builders import NOW

BCRYPT: Final = b"$2a$10$" + b"abcdefghijklmnopqrstuv" + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ01234"
OLD_KEY: Final = "0123456789abcdef" * 3
TIMES: Final = (
    *(None, "", ZERO_TIME, "0001-01-01 00:00:00-05:30", "1899-01-01 00:00:00+00:00", "0000-00-00 00:00:00"),
    *(stamp(), "2999-01-02T03:04:05Z", "9999-12-31 23:59:59.999999999-12:00", "2026-01-02 03:04:05", "soon"),
    *(
        "2026-01-02 03:04:05.5 +0000 UTC",
        "2026-01-02 03:04:05.123456789 +0200 CEST m=+0.5",
        1767322800,
        1e300,
    ),
)
LISTS: Final = (
    *(
        None,
        "",
        "null",
        "[]",
        b"[]",
        '["tag:a"]',
        '["tag:b","tag:a","tag:a"]',
        '["tag:A", "a"]',
        '["nonsense"]',
    ),
    *("{}", "[1]", "[", '["10.0.0.0/8"]', b'["10.0.0.1/8","0.0.0.0/0"]', '["10.0.0.0"]', '["1.2.3.4:5","x"]'),
)
NAMES: Final = (
    *(None, "", "alice", "alice-1", "Alice", "a", "bob", " ", "invalid-abc123", "host-abcdefgh", "x" * 300),
    *("Ünïcode", "a_b.local", "-", "alice\x00", "alice-2", "user-1"),
)
ADDRESSES: Final = (
    *(None, "", "100.64.0.1", "100.64.0.2", "10.0.0.1", "0.0.0.0", "127.0.0.1", "100.100.100.100", "x"),
    *("fd7a:115c:a1e0::1", "FD7A:115C:A1E0::0001", "fd7a:115c:a1e0::53", "fe80::1%eth0", "2001:db8::1"),
)
HOSTINFOS: Final = (
    *(None, "", "null", "{}", "[", "[]", '{"OS":1}', '{"Hostname":"h","RoutableIPs":["10.0.0.0/8"]}'),
    *('{"RequestTags":["tag:a","tag:c"],"NetInfo":{"PreferredDERP":1}}', '{"hostname":null,"Unknown":{}}'),
    "[" * 200 + "]" * 200,
)
KEYS: Final = (None, "", "x", *(f"{n:064x}" for n in range(4)), "AB" * 32)
FLAGS: Final = (None, 0, 1, "true", "false", "x")
REFERENCES: Final = (None, 0, 1, 2, 3, 4, -1, "x", 99)
IDS: Final = (7, 0, -1, TAGGED_USER_ID, 2**62)
PREFIXES: Final = (None, "", "abcdefghij01", "abcdefghij02", "abcdefg", "bcdefgh", "a b")
HASHES: Final = (None, b"", BCRYPT, "$2a$10$short", b"$2a$31$" + BCRYPT[7:], BCRYPT.decode())
POLICIES: Final = (
    *(None, "", "{", '{"acls": [{"action": "accept", "src": ["alice"], "dst": ["*:*"]}]}'),
    '{"tagOwners": {"tag:a": ["alice@"], "tag:b": ["bob@"]}}',
)


def peers() -> st.SearchStrategy[PeerDatabase]:
    """A database of any release, with up to a handful of rows in each table."""
    return st.composite(_peer)()


def _peer(draw: st.DrawFn) -> PeerDatabase:
    """Sound rows, in each of which up to three cells are swapped for odd ones."""
    foreign = draw(st.sampled_from([(), ("_litestream_seq",)]))
    made = PeerDatabase(draw(st.sampled_from(RELEASES)), foreign=foreign)
    for table, (sound, odd) in _CELLS.items():
        if table not in made.tables:
            continue
        columns = made.columns(table)
        swaps = sorted(column for column in odd if column in columns)
        # Two sound users, so that most of the rest has an owner.
        sure = 2 if table == "users" else 0
        for number in range(1, draw(st.integers(sure, 5)) + 1):
            row = {column: cell for column, cell in sound(number).items() if column in columns}
            if swaps and number > sure:
                for column in draw(st.lists(st.sampled_from(swaps), max_size=3)):
                    row[column] = draw(st.sampled_from(odd[column]))
            made.add(table, id=number, **row)
        if len(made.rows[table]) > sure:
            made.rows[table][-1]["id"] = draw(st.sampled_from((made.rows[table][-1]["id"], *IDS)))
    for table, columns in _TWICE.items():
        rows = made.rows[table]
        for column in draw(st.lists(st.sampled_from(columns), max_size=3)) if rows else ():
            draw(st.sampled_from(rows))[column] = draw(st.sampled_from(rows)).get(column)
    return made


def _sound_user(number: int) -> dict[str, Any]:
    return {"name": NAMES[number + 1], "created_at": stamp()}


def _sound_key(number: int) -> dict[str, Any]:
    hashed = {"prefix": f"abcdefghij{number:02}", "hash": BCRYPT}
    return {"user_id": 1, "key": f"{number:048x}", **hashed, "created_at": stamp()}


def _sound_node(number: int) -> dict[str, Any]:
    return {
        "machine_key": f"mkey:{number:064x}",
        "node_key": f"nodekey:{number:064x}",
        "ipv4": f"100.64.0.{number}",
        "ipv6": f"fd7a:115c:a1e0::{number:x}",
        "hostname": f"host{number}",
        "given_name": f"host{number}",
        "user_id": 1 + number % 2,
        "register_method": "cli",
        "created_at": stamp(),
        "last_seen": stamp(NOW - timedelta(hours=number % 3)),
    }


# What stands in two rows of the peer's now and then.
_TWICE: Final = {
    "nodes": ("machine_key", "node_key", "ipv4", "ipv6", "given_name"),
    "users": ("name",),
}
_STAMPS: Final = {"created_at": TIMES, "updated_at": TIMES, "deleted_at": (None, "", ZERO_TIME, stamp())}
_NUMBERS: Final = tuple(f"{number:064x}" for number in range(1, 6))
# What a sound row of a number is, and what may stand in its cells instead.
_CELLS: Final[dict[str, tuple[Callable[[int], dict[str, Any]], dict[str, tuple[Any, ...]]]]] = {
    "users": (
        _sound_user,
        {
            "name": NAMES,
            "email": (None, "", "a@example.com"),
            "provider_identifier": ("", "https://idp/1", "https://idp/1", "https://idp/2"),
            **_STAMPS,
        },
    ),
    "pre_auth_keys": (
        _sound_key,
        {
            "key": (None, "", OLD_KEY, OLD_KEY[::-1], OLD_KEY[:11] + "f" * 37, "short"),
            "prefix": PREFIXES,
            "hash": HASHES,
            "user_id": REFERENCES,
            "reusable": FLAGS,
            "ephemeral": FLAGS,
            "used": FLAGS,
            "tags": LISTS,
            "expiration": TIMES,
            "revoked": TIMES,
            "created_at": TIMES,
        },
    ),
    "pre_auth_key_acl_tags": (
        lambda number: {"pre_auth_key_id": number, "tag": "tag:a"},
        {"pre_auth_key_id": REFERENCES, "tag": (None, "tag:a", "tag:b", "x")},
    ),
    "api_keys": (
        lambda number: {"prefix": f"abcdefghij{number:02}", "hash": BCRYPT, "created_at": stamp()},
        {"prefix": PREFIXES, "hash": HASHES, "expiration": TIMES, "last_seen": TIMES, "created_at": TIMES},
    ),
    "nodes": (
        _sound_node,
        {
            "machine_key": tuple(f"mkey:{text}" for text in (*KEYS, *_NUMBERS)),
            "node_key": tuple(f"nodekey:{text}" for text in (*KEYS, *_NUMBERS)),
            "disco_key": ("discokey:x", *(f"discokey:{text}" for text in KEYS)),
            "endpoints": LISTS,
            "host_info": HOSTINFOS,
            "ipv4": ADDRESSES,
            "ipv6": ADDRESSES,
            "hostname": NAMES,
            "given_name": ("host1", "host2", "host1-1", *NAMES),
            "user_id": REFERENCES,
            "register_method": (None, "", "cli", "authkey", "oidc", "magic"),
            "forced_tags": LISTS,
            "tags": LISTS,
            "auth_key_id": REFERENCES,
            "last_seen": TIMES,
            "expiry": TIMES,
            "approved_routes": LISTS,
            **_STAMPS,
        },
    ),
    "routes": (
        lambda number: {"node_id": number, "prefix": f"10.{number}.0.0/16", "enabled": 1},
        {
            "node_id": REFERENCES,
            "prefix": (None, "", "10.0.0.0/8", "10.0.0.1/8", "0.0.0.0/0", "::/0", "x"),
            "enabled": FLAGS,
            **_STAMPS,
        },
    ),
    "policies": (lambda number: {"data": POLICIES[-number]}, {"data": POLICIES, **_STAMPS}),
    "oauth_clients": (lambda number: {"client_id": f"client{number}"}, {}),
}
