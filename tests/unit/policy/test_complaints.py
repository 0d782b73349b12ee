"""How a complaint reads, alone and together with others."""

from headscale.policy.complaints import Complaint, PolicyRefused


def test_a_complaint_says_where() -> None:
    """Line, column and path, as far as there are any, stand before the message."""
    assert str(Complaint("bad", 3, 7, "acls[0]")) == "line 3, column 7 (acls[0]): bad"
    assert str(Complaint("bad", 1, 1)) == "line 1, column 1: bad"
    assert str(Complaint("bad")) == "bad"


def test_a_refusal_is_one_line_a_complaint() -> None:
    """The message of the error is all complaints in their order."""
    refusal = PolicyRefused((Complaint("one", 1, 2, "a"), Complaint("two")))
    assert str(refusal) == "line 1, column 2 (a): one\ntwo"
    assert [complaint.message for complaint in refusal.complaints] == ["one", "two"]
