"""Valid policies drawn by hypothesis, in the words of a small tailnet: for engines, and for real clients.

The addresses are few and overlap on purpose: subnets inside subnets, hosts that are nodes, prefixes around nodes.
What the hosted service was never recorded to decide is left out: applications behind subnet routers, subnets and
destinations that are partly on the internet, `via` to anything but a subnet or the internet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st

from harness.oracle import OracleUser

NAMES: Final = ("alice", "bob", "carol", "dave", "erin")
TAGS: Final = ("tag:web", "tag:db", "tag:router")
GROUPS: Final = ("group:eng", "group:ops")
NOBODY: Final = "ghost@"

ROUTES: Final = (
    "10.0.0.0/8",
    "10.33.0.0/16",
    "10.33.5.0/24",
    "192.168.1.0/24",
    "fd00:1::/64",
    "fd00:1::8000/113",
)
SUBNETS: Final = (*ROUTES, "10.32.0.0/15", "10.33.5.207", "10.99.0.0/16", "192.168.0.0/16", "fd00:1::8001")
TAILNET_PARTS: Final = (
    "100.64.0.1",
    "100.64.0.2/31",
    "100.64.0.4/30",
    "100.64.0.0/16",
    "fd7a:115c:a1e0::/125",
)
PUBLIC: Final = ("8.8.8.0/24", "8.8.8.8", "2001:4860::/32")
HOSTS: Final = ("printer", "lab", "six", "resolver")
ACL_PORTS: Final = ("*", "*", "*", "22", "80-90", "22,80-90,443", "1", "65535")
IP_ENTRIES: Final = (
    *("*", "*", "*", "22", "80-90", "47", "1-65535"),
    *("tcp:22", "tcp:*", "udp:53", "udp:80-90", "sctp:80", "icmp:*", "gre:*"),
)
PROTOS: Final = ("tcp", "udp", "sctp", "icmp", "ipv6-icmp", "gre", "6", "17", "47")
CAPABILITIES: Final = (
    "example.com/cap/x",
    "tailscale.com/cap/drive",
    "tailscale.com/cap/relay",
    "tailscale.com/cap/kubernetes",
)

Rule = dict[str, Any]


@dataclass(frozen=True)
class Vocabulary:
    """The words that one policy may use."""

    people: tuple[str, ...]
    subnets: tuple[str, ...]
    tailnet_parts: tuple[str, ...]
    public: tuple[str, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Words for nodes, not for addresses."""
        return (*self.people, *TAGS, "autogroup:member", "autogroup:tagged")

    @property
    def sources(self) -> tuple[str, ...]:
        return ("*", "*", *self.nodes, *self.subnets, *self.tailnet_parts, "autogroup:danger-all")

    @property
    def destinations(self) -> tuple[str, ...]:
        """Without `autogroup:self`, which is not for every source."""
        places = (*self.subnets, *self.tailnet_parts, *self.public)
        return ("*", "*", *self.nodes, *places, "autogroup:internet")


def words(people: Sequence[OracleUser]) -> Vocabulary:
    """All that may stand in a rule: each user by every name, and hosts beside the literals that they stand for."""
    called = [name for user in people for name in (f"{user.name}@", user.email, user.provider_id) if name]
    return Vocabulary(
        people=(*called, *GROUPS, NOBODY),
        subnets=(*SUBNETS, "lab"),
        tailnet_parts=(*TAILNET_PARTS, "printer", "six"),
        public=(*PUBLIC, "resolver"),
    )


@st.composite
def policies(draw: st.DrawFn, people: Sequence[OracleUser]) -> dict[str, Any]:
    """A valid policy: acls, grants, both or (now and then) neither, with groups, hosts and owned tags."""
    vocabulary = words(people)
    names = st.sampled_from([name for name in vocabulary.people if name not in GROUPS])
    sections = draw(st.sampled_from(("acls", "grants", "grants", "both", "both", "neither")))
    policy: dict[str, Any] = {
        "groups": {group: draw(st.lists(names, max_size=3, unique=True)) for group in GROUPS},
        "hosts": {
            "printer": draw(st.sampled_from(("100.64.0.3", "100.64.0.1/32"))),
            "lab": draw(st.sampled_from(("10.33.0.0/16", "192.168.1.209"))),
            "six": "fd7a:115c:a1e0::2",
            "resolver": "8.8.8.8",
        },
        "tagOwners": {
            tag: draw(st.lists(names | st.sampled_from(GROUPS), max_size=2, unique=True)) for tag in TAGS
        },
    }
    if sections in ("acls", "both"):
        policy["acls"] = draw(_rules(acls(vocabulary)))
    if sections in ("grants", "both"):
        policy["grants"] = draw(_rules(grants(vocabulary)))
    return policy


def _rules(rule: st.SearchStrategy[Rule]) -> st.SearchStrategy[list[Rule]]:
    """A section: seldom empty, for an empty one has little to tell."""
    return st.sampled_from((2, 1, 1, 0)).flatmap(
        lambda least: st.lists(rule, min_size=least, max_size=4 * least)
    )


@st.composite
def acls(draw: st.DrawFn, vocabulary: Vocabulary) -> Rule:
    """One rule of the older form."""
    proto = draw(st.sampled_from(("", "", *PROTOS)))
    ports = st.sampled_from(ACL_PORTS if proto in ("", "tcp", "udp", "sctp") else ("*",))
    aliases = _ends(draw, vocabulary, star_has_self=True)
    dst = [f"{_bracketed(draw, alias)}:{draw(ports)}" for alias in aliases["dst"]]
    return {"action": "accept", "src": aliases["src"], "dst": dst} | ({"proto": proto} if proto else {})


@st.composite
def grants(draw: st.DrawFn, vocabulary: Vocabulary) -> Rule:
    """One grant: of ports, of capabilities or both, or of ports through named routers."""
    entries = draw(st.lists(st.sampled_from(IP_ENTRIES), min_size=1, max_size=3, unique=True))
    kind = draw(st.sampled_from(("ip", "ip", "ip", "via", "app", "both")))
    if kind == "ip":
        return {**_ends(draw, vocabulary, star_has_self=False), "ip": entries}
    if kind == "via":
        sources = draw(_some(vocabulary.sources))
        dst = draw(_some((*SUBNETS, "autogroup:internet")))
        return {"src": sources, "dst": dst, "ip": entries, "via": draw(_some(TAGS))}
    sources = [*vocabulary.nodes, *vocabulary.tailnet_parts, *vocabulary.subnets, "*"]
    app: Rule = {name: [{}] for name in draw(_some(CAPABILITIES))}
    dst = draw(_some(("*", *vocabulary.nodes, *vocabulary.tailnet_parts)))
    return {"src": draw(_some(sources)), "dst": dst, "app": app} | ({"ip": entries} if kind == "both" else {})


def _ends(draw: st.DrawFn, vocabulary: Vocabulary, *, star_has_self: bool) -> dict[str, list[str]]:
    """Sources and destinations that go together."""
    if draw(st.sampled_from((False, False, True))):
        sources = (*vocabulary.people, "autogroup:member", *(("*",) if star_has_self else ()))
        others = draw(st.lists(st.sampled_from(vocabulary.destinations), max_size=1))
        return {"src": draw(_some(sources)), "dst": draw(st.permutations(["autogroup:self", *others]))}
    return {"src": draw(_some(vocabulary.sources)), "dst": draw(_some(vocabulary.destinations))}


def _bracketed(draw: st.DrawFn, alias: str) -> str:
    """An IPv6 literal with or without brackets; other aliases as they are."""
    if alias.count(":") < 2 or not draw(st.booleans()):
        return alias
    address, slash, length = alias.partition("/")
    return f"[{address}]{slash}{length}"


def _some(choices: Sequence[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(choices), min_size=1, max_size=3, unique=True)
