"""Which records a node may publish: the answers to an authority's questions about its own name, and nothing else."""

import re
from typing import Final

from headscale.errors import Malformed, Refused
from headscale.sources.extrarecords import NAME_MAX

PREFIX: Final = "_acme-challenge."
# The digest of a key authorization in base64url without padding (RFC 8555, section 8.4). It may begin with a hyphen.
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def check_challenge(name: str, kind: str, value: str, *, domain: str) -> str:
    """The name in lower case without a final dot. Raises Refused for other names and types, Malformed for the value.

    Clients ask for `_acme-challenge.` and their certificate domain, for a wildcard under it as well
    (tailscale v1.80.3 and v1.102.4, ipn/ipnlocal/cert.go and feature/acme/cert.go). They show 200 bytes of an error.
    """
    if kind.upper() != "TXT":
        raise Refused(f"only TXT records are published, not {_shown(kind)}")
    if name.lower().removesuffix(".") != PREFIX + domain:
        raise Refused(f"this node publishes records of {domain[:120]} only, not of {_shown(name)}")
    if len(PREFIX + domain) > NAME_MAX:
        raise Refused("this node's name is too long for a certificate: rename it")
    if _VALUE.fullmatch(value) is None:
        raise Malformed("the value is no answer to an ACME challenge: expected 43 base64url characters")
    return PREFIX + domain


def _shown(text: str) -> str:
    """What a client sent, fit for its user's terminal."""
    return "".join(c for c in text[:60] if c.isprintable()) or "nothing"
