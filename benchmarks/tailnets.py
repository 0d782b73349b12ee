"""Tailnets and policies of a size, drawn from a seed: the same for every run and machine."""

import json
import random
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from headscale.policy.subjects import Person, Subject

SEED = 1
PORTS = ("22", "80,443", "*", "8000-8100")
FIRST_V4 = IPv4Address("100.64.0.0")
FIRST_V6 = IPv6Address("fd7a:115c:a1e0::")


@dataclass(frozen=True)
class Case:
    """A tailnet with its policy. `text` is the policy."""

    text: str
    people: dict[int, Person]
    subjects: list[Subject]
    rules: int

    @property
    def size(self) -> int:
        """Nodes and rules together: what the work should grow with."""
        return len(self.subjects) + self.rules


def case_of(nodes: int) -> Case:
    """For 10,000 nodes: 1,000 users, 500 groups of 20, 100 tags, 1,000 rules; less in proportion.

    Three nodes in ten are tagged. A rule has one to three groups or tags on either side; one in twenty opens a subnet;
    everybody reaches their own devices.
    """
    die = random.Random(SEED)
    users, groups = max(10, nodes // 10), max(5, nodes // 20)
    tags = [f"tag:t{i}" for i in range(max(2, groups // 5))]
    members = {
        f"group:g{i}": [f"u{die.randint(1, users)}@example.com" for _ in range(20)] for i in range(groups)
    }
    hosts = {f"h{i}": f"10.{i}.0.0/24" for i in range(50)}
    names = [*members, *tags]
    rules = []
    for i in range(max(10, nodes // 10)):
        targets = [f"{name}:{die.choice(PORTS)}" for name in die.sample(names, die.randint(1, 3))]
        if i % 20 == 0:
            targets.append(f"{die.choice(list(hosts))}:443")
        rules.append({"action": "accept", "src": die.sample(names, die.randint(1, 3)), "dst": targets})
    rules.append({"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]})
    policy = {"groups": members, "hosts": hosts, "tagOwners": {tag: [] for tag in tags}, "acls": rules}
    people = {i: Person(i, f"u{i}", f"u{i}@example.com") for i in range(1, users + 1)}
    subjects = [
        subject(i, tag=die.choice(tags)) if die.random() < 0.3 else subject(i, user_id=die.randint(1, users))
        for i in range(1, nodes + 1)
    ]
    return Case(json.dumps(policy), people, subjects, len(rules))


def subject(number: int, *, user_id: int | None = None, tag: str = "") -> Subject:
    """The node with this number."""
    return Subject(number, user_id, (tag,) if tag else (), FIRST_V4 + number, FIRST_V6 + number)
