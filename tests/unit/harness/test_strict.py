"""What cannot run here skips, or fails under HARNESS_STRICT."""

import pytest

from harness.strict import strict, unavailable


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_the_variable_is_a_switch(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    """0 and nothing are off."""
    monkeypatch.setenv("HARNESS_STRICT", value)
    assert strict() is expected


def test_it_skips_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary shows why."""
    monkeypatch.delenv("HARNESS_STRICT", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no engine"):
        unavailable("no engine")


def test_under_strict_it_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """CI sees a failure, not a skip."""
    monkeypatch.setenv("HARNESS_STRICT", "1")
    with pytest.raises(pytest.fail.Exception, match=r"HARNESS_STRICT is set.*no engine"):
        unavailable("no engine")
