"""Decides what happens to a test that this machine cannot run: a skip that says why, or, under
`HARNESS_STRICT=1` (set by CI), a failure. Nothing passes silently.
"""

import os
from typing import NoReturn

import pytest


def strict() -> bool:
    """True when what cannot run must fail the run."""
    return os.environ.get("HARNESS_STRICT", "") not in ("", "0")


def unavailable(reason: str) -> NoReturn:
    """End the running test: skip it with this reason, or fail it under HARNESS_STRICT."""
    __tracebackhide__ = True
    if strict():
        pytest.fail(f"HARNESS_STRICT is set and this cannot run here: {reason}", pytrace=False)
    pytest.skip(reason)
