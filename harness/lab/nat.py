"""Kinds of NAT, and the oracle for them: whether two clients behind such routers find a direct path.

A kind is what a router does with UDP, in the words of RFC 4787: by what of the remote end a flow gets an outside port
(mapping), and by what of it a packet from outside is let in (filtering). The four with names are those of RFC 3489.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

INDEPENDENT = "endpoint-independent"
BY_ADDRESS = "address-dependent"
BY_PORT = "address-and-port-dependent"

_STRICTNESS = (INDEPENDENT, BY_ADDRESS, BY_PORT)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a way to the internet does with UDP."""

    mapping: str
    filtering: str


class Nat(Enum):
    """What a router does with a LAN's IPv4 packets."""

    NONE = "none"
    """It forwards them as they are, both ways."""
    FULL_CONE = "full cone"
    RESTRICTED = "restricted cone"
    PORT_RESTRICTED = "port-restricted cone"
    SYMMETRIC = "symmetric"

    def __str__(self) -> str:
        return self.value

    @property
    def behaviour(self) -> Behaviour:
        """In the words of RFC 4787."""
        return _BEHAVIOURS[self]


_BEHAVIOURS = {
    Nat.NONE: Behaviour(INDEPENDENT, INDEPENDENT),
    Nat.FULL_CONE: Behaviour(INDEPENDENT, INDEPENDENT),
    Nat.RESTRICTED: Behaviour(INDEPENDENT, BY_ADDRESS),
    Nat.PORT_RESTRICTED: Behaviour(INDEPENDENT, BY_PORT),
    Nat.SYMMETRIC: Behaviour(BY_PORT, BY_PORT),
}


@dataclass(frozen=True, slots=True)
class Path:
    """What the oracle expects of two clients, and why."""

    direct: bool
    reason: str

    def __str__(self) -> str:
        return "direct" if self.direct else "relayed"


def in_a_row(routers: Sequence[Nat]) -> Behaviour:
    """What several routers do together: the strictest of each."""

    def strictest(kinds: Sequence[str]) -> str:
        return max(kinds, key=_STRICTNESS.index, default=INDEPENDENT)

    return Behaviour(
        strictest([nat.behaviour.mapping for nat in routers]),
        strictest([nat.behaviour.filtering for nat in routers]),
    )


def predict(one: Behaviour, other: Behaviour) -> Path:
    """Whether clients behind different routers talk directly.

    Each knows of the other the outside port that STUN saw, and both send there (disco pings, prompted through the
    relay). One packet that comes through is enough: the answer goes back to where it came from. It comes through if
    the receiver's port is the one that STUN saw, and its filter knows the sender's.
    """
    for sender, receiver in ((one, other), (other, one)):
        if receiver.mapping != INDEPENDENT:
            continue
        if receiver.filtering == INDEPENDENT:
            return Path(True, "one side lets anybody in, at the port that STUN saw")
        if receiver.filtering == BY_ADDRESS:
            return Path(
                True, "one side lets any port of an address in that it sent to, at the port that STUN saw"
            )
        if sender.mapping == INDEPENDENT:
            return Path(True, "both have the port that STUN saw, so each sends to where the other sends from")
    if one.mapping == other.mapping:
        return Path(False, "both have another port towards each other than the one that STUN saw")
    return Path(False, "one has another port than STUN saw, and the other lets in only ports that it sent to")
