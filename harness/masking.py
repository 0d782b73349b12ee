"""Takes secrets out of what a report, a history or a folder of evidence is to show.

By their shape: our credentials and private keys, what a command line or a header gives as a key, token or password,
and addresses at which somebody may log a device in.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from headscale.logs import redact

MASK: Final = "…"

_GIVEN: Final = re.compile(
    r"""((?:--?auth-?key|--client-secret|--api-key|password|secret|token)[\\"']*\s*[=:]\s*[\\"']*)([^\s"'\\,}…]+)""",
    re.IGNORECASE,
)
_BEARER: Final = re.compile(r"(\b(?:bearer|basic)\s+)[A-Za-z0-9+/=._~-]{12,}", re.IGNORECASE)
_KEY: Final = re.compile(r"\b((?:hs|ts)key-[a-z]+-)[A-Za-z0-9_-]{12,}")
_LOGIN: Final = re.compile(r"(https?://[^\s\"'<>/]+/(?:register|login|auth|a)/)[^\s\"'<>?#]{8,}")


def masked(text: str) -> str:
    """The text with `…` where a secret was."""
    for shape in (_GIVEN, _KEY, _BEARER, _LOGIN):
        text = shape.sub(rf"\1{MASK}", text)
    return redact(text)


def masked_value(value: Any) -> Any:
    """The same for a value of JSON: all texts in it, keys of objects left alone."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {name: masked_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked_value(inner) for inner in value]
    return value
