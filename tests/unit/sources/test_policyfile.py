"""A policy file as operators see it."""

from io import BytesIO
from pathlib import Path

import pytest

from headscale.errors import Malformed, Unavailable
from headscale.policy.complaints import Complaint
from headscale.sources.policyfile import TEXT_MAX_BYTES, in_file, read_policy, read_text


def test_a_text_is_read_byte_for_byte(tmp_path: Path) -> None:
    """Line ends as well: what is shown later is what was written."""
    (tmp_path / "acl").write_bytes("{}\r\n// ä\n".encode())
    assert read_policy(tmp_path / "acl") == "{}\r\n// ä\n"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"{} // \xe4")
    with pytest.raises(Malformed, match=r"latin is not UTF-8 text \(byte 6\)"):
        read_policy(tmp_path / "latin")
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(Unavailable, match=f"the policy file {path} cannot be read: "):
            read_policy(path)


def test_complaints_are_lines_that_editors_can_follow() -> None:
    found = in_file(
        Path("acl.hujson"),
        (Complaint("bad", 3, 5, "acls[0]"), Complaint("odd", 1, 2), Complaint("all of it")),
    )
    assert found.splitlines() == [
        "acl.hujson:1:2: odd",
        "acl.hujson:3:5: acls[0]: bad",
        "acl.hujson: all of it",
    ]


def test_a_text_has_a_limit(tmp_path: Path) -> None:
    """At it, it is read; one byte past it is not even decoded."""
    path = tmp_path / "acl"
    path.write_bytes(b" " * TEXT_MAX_BYTES)
    assert len(read_policy(path)) == TEXT_MAX_BYTES
    path.write_bytes(b"\xff" * (TEXT_MAX_BYTES + 1))
    with pytest.raises(Malformed, match=r"acl is too large: a policy has at most 10 MiB \(10485760 bytes\)"):
        read_policy(path)
    with pytest.raises(Malformed, match="the standard input is too large"):
        read_text(BytesIO(b" " * (TEXT_MAX_BYTES + 1)), "the standard input")
