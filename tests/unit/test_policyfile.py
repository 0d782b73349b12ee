"""A policy file as operators see it."""

from pathlib import Path

import pytest

from headscale.errors import Malformed, Unavailable
from headscale.policy.complaints import Complaint
from headscale.policyfile import in_file, read_policy


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
        "acl.hujson:3:5: acls[0]: bad",
        "acl.hujson:1:2: odd",
        "acl.hujson: all of it",
    ]
