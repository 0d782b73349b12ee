"""Who a scenario's users are at a server where users are people: each API key is somebody's, and makes their devices.

`HARNESS_API_KEY` is one person's key, who stands for the first user that a scenario names; or a key for each name,
`alice=tskey-api-…,bob=tskey-api-…`. What has to do with the whole tailnet is done with the first key.
"""

import re
from collections.abc import Mapping
from typing import Final

from harness.errors import HarnessError

VARIABLE: Final = "HARNESS_API_KEY"
_ANYONE: Final = ""
_NAMED: Final = re.compile(r"^(?P<name>[a-z][a-z0-9-]*)=(?P<key>.+)$")


def credentials(text: str) -> Mapping[str, str]:
    """Credentials by the user's name in scenarios; by the empty name that of whoever comes first.

    Raises HarnessError with what is expected.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    named = [_NAMED.match(part) for part in parts]
    if len(parts) == 1 and named[0] is None:
        return {_ANYONE: parts[0]}
    if not parts or None in named:
        raise HarnessError(
            f"{VARIABLE} must be an API key (tskey-api-…) or an OAuth client's secret (tskey-client-…), or several "
            "as alice=KEY,bob=KEY"
        )
    return {found["name"]: found["key"] for found in named if found is not None}


def key_of(name: str, known: Mapping[str, str], *, taken: int) -> str | None:
    """The credential for a scenario's user when so many users have one already; None when there is none left."""
    if name in known:
        return known[name]
    return known[_ANYONE] if _ANYONE in known and taken == 0 else None


def translated(text: str, logins: Mapping[str, str]) -> str:
    """A policy with the real logins in place of the scenario's names: `alice@` becomes `ann@example.com`."""
    for name, login in logins.items():
        real = login if "@" in login else f"{login}@"
        text = re.sub(rf"(?<![\w.+@-]){re.escape(name)}@(?![\w.-])", real, text)
    return text
