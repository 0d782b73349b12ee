"""What happens to both servers: a scenario of joins, policies and an administrator's acts, drawn from a seed.

The same seed gives the same scenario, whatever the servers. Each step has a name, under which its differences are told.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.policies import ALLOW_ALL, acl, policy, ssh

ROUTE: Final = "10.33.0.0/24"
WEB: Final = "tag:web"
ROUTER: Final = "tag:router"
SERVICES: Final = ("web", "db")
POLICIES: Final = 4
PEOPLE: Final = ("alice", "bob")


@dataclass(frozen=True, slots=True)
class Join:
    """A new client; `release` is its place among the selected ones, modulo their number."""

    client: str
    user: str
    release: int
    tags: tuple[str, ...] = ()
    advertise: str = ""


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """In it `{web}` and `{db}` stand for the services' ports."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Rename:
    """An administrator gives the client's node another name."""

    client: str
    name: str


@dataclass(frozen=True, slots=True)
class SetTags:
    """An administrator gives the client's node to these tags."""

    client: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Approve:
    """An administrator approves these routes of the client's node."""

    client: str
    routes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Down:
    """The client disconnects and stays logged in."""

    client: str


@dataclass(frozen=True, slots=True)
class Up:
    """The client connects again."""

    client: str


@dataclass(frozen=True, slots=True)
class Expire:
    """An administrator ends the node's key."""

    client: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The client ends, and an administrator deletes its node."""

    client: str


Step = Join | SetPolicy | Rename | SetTags | Approve | Down | Up | Expire | Leave


def name_of(step: Step) -> str:
    """How the step is told, such as `rename bob`."""
    words = {SetPolicy: "policy", SetTags: "tag"}
    verb = words.get(type(step), type(step).__name__.lower())
    return f"{verb} {step.name if isinstance(step, SetPolicy) else step.client}"


def script(seed: int) -> Sequence[Step]:
    """The scenario of this seed: six clients of several releases, then what a seed makes of them."""
    chance = random.Random(seed)  # noqa: S311 - no secret is drawn
    place = chance.randrange(2)
    joins = [
        Join("alice-1", "alice", place),
        Join("alice-2", "alice", place + 1),
        Join("bob", "bob", place),
        Join("server", "alice", place + 1, (WEB,)),
        Join("router", "bob", place, (ROUTER,), ROUTE),
        Join("leaving", "bob", place + 1),
    ]
    steps: list[Step] = [
        SetPolicy("all", _owned(ALLOW_ALL)),
        *joins,
        Approve("router", (ROUTE,)),
        *(SetPolicy(f"drawn-{number}", _policy(chance)) for number in range(1, POLICIES + 1)),
        SetPolicy("all-again", _owned(ALLOW_ALL)),
    ]
    acts: list[Step] = [
        Rename(chance.choice(["alice-1", "bob"]), "printer"),
        SetTags("alice-2", (WEB,)),
        Leave("leaving"),
    ]
    chance.shuffle(acts)
    away = chance.choice(["bob", "server"])
    return [*steps, *acts, Down(away), Up(away), Approve("router", ()), Expire("alice-1")]


def _owned(text: str) -> str:
    """The policy with the owners of the tags that clients have."""
    return text.replace("{", f'{{"tagOwners": {{"{WEB}": ["alice@"], "{ROUTER}": ["alice@"]}}, ', 1)


def _policy(chance: random.Random) -> str:
    """One to three rules, at times with SSH."""
    sources = ["alice@", "bob@", "group:staff", WEB, "autogroup:member", "*"]
    targets = ["bob@", WEB, "autogroup:member", "autogroup:tagged", "*", ROUTE]
    ports = ["{web}", "{db}", "{web},{db}", "*"]
    rules = [
        acl(
            chance.choice(sources),
            f"{chance.choice(targets)}:{chance.choice(ports)}",
            proto=chance.choice(["", "", "tcp", "udp"]),
        )
        for _ in range(chance.randint(1, 3))
    ]
    if chance.random() < 0.5:
        rules.append(acl("autogroup:member", "autogroup:self:*"))
    if chance.random() < 0.5:
        rules.append(ssh("alice@", to=WEB, users=["autogroup:nonroot", "root"]))
    owners = {WEB: ["alice@"], ROUTER: ["alice@"]}
    return policy(*rules, groups={"group:staff": ["alice@", "bob@"]}, tag_owners=owners)
