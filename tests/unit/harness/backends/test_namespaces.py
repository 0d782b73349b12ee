"""Where network namespaces cannot be made."""

import os

import pytest

from harness.backends import namespaces


@pytest.mark.skipif(os.geteuid() == 0, reason="root may make namespaces")
def test_without_root_they_are_missing() -> None:
    """And the reason is given."""
    with pytest.raises(namespaces.Missing, match="need root"):
        namespaces.check_usable()
