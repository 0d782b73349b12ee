"""Client releases and the capability versions that they announce.

Source: the release tags of tailscale.com (tailcfg.CurrentCapabilityVersion), 1.80 to 1.102.
"""

from typing import Final

# The oldest client that we speak to; older ones are refused with this release named.
OLDEST: Final = 113
OLDEST_RELEASE: Final = "1.80"

RELEASES: Final[dict[str, int]] = {
    "1.80": 113,
    "1.82": 115,
    "1.84": 116,
    "1.86": 123,
    "1.88": 125,
    "1.90": 130,
    "1.92": 131,
    "1.94": 131,
    "1.96": 133,
    "1.98": 138,
    "1.100": 141,
    "1.102": 142,
}


def release_of(version: int) -> str:
    """A name for people: the newest release that announces at most this capability version."""
    known = [release for release, announced in RELEASES.items() if announced <= version]
    return known[-1] if known else f"older than {OLDEST_RELEASE}"
