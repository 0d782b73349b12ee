"""The command without what its extra brings."""

import sys

import pytest

from harness.cli.entry import main


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's installation has the command, and not pytest."""
    for name in [
        name for name in sys.modules if name.startswith(("harness.cli.main", "harness.cli.run", "pytest"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(SystemExit, match=r"pytest is not installed: pip install 'headscale\[harness\]'"):
        main()
