"""Given names: a DNS label from whatever the client calls itself, unique in the tailnet.

`hostname` stays as the client sent it; `given_name` is what others resolve. A name in use never moves: a
newcomer gets a number. The label rules are the hosted service's, as the peer's captures show them.
"""

import re
from collections.abc import Container
from typing import Final

from headscale.errors import Malformed

LABEL_MAX: Final = 63
FALLBACK: Final = "node"
_LOCAL_SUFFIXES: Final = (".local", ".localdomain", ".lan")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def label_of(hostname: str) -> str:
    """A hostname as a label: `Joe's Mac mini` is `joes-mac-mini`; nothing usable is `node`."""
    name = hostname.lower()
    for suffix in _LOCAL_SUFFIXES:
        name = name.removesuffix(suffix)
    name = re.sub(r"[ .@_]", "-", name)
    name = re.sub(r"[^a-z0-9-]", "", name)
    return name.strip("-")[:LABEL_MAX].strip("-") or FALLBACK


def unique_label(wanted: str, taken: Container[str]) -> str:
    """The label, or the first free one of `label-1`, `label-2`, …, never longer than a label may be."""
    candidate, number = wanted, 0
    while candidate in taken:
        number += 1
        suffix = f"-{number}"
        candidate = wanted[: LABEL_MAX - len(suffix)].rstrip("-") + suffix
    return candidate


def is_derived(given_name: str, hostname: str) -> bool:
    """Whether the name still follows the hostname, numbered or not, so that it may go on following."""
    stem = re.escape(label_of(hostname)[: LABEL_MAX - 2].rstrip("-"))
    return given_name == label_of(hostname) or re.fullmatch(rf"{stem}-[0-9]+", given_name) is not None


def check_label(name: str) -> str:
    """An administrator's choice, in lower case; raises Malformed when it is no DNS label."""
    lowered = name.lower()
    if not _LABEL.fullmatch(lowered):
        raise Malformed(
            f"{name[:80]!r} is not a node name: use 1 to {LABEL_MAX} letters, digits and inner hyphens"
        )
    return lowered
