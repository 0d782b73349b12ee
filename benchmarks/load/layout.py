"""Who is in a tailnet of N nodes, its policy of fifty rules, and how many peers each node must see.

Drawn from a seed, so that every run and every server has the same. Visibility is read off the rules in the plainest
way; it shares nothing with the server's own compiler.
"""

import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import Final

SEED: Final = 1
USERS: Final = 40
GROUPS: Final = 20
GROUP_USERS: Final = 4
TAGS: Final = 10
RULES: Final = 50
# Three nodes in ten are servers and have a tag.
TAGGED_IN_TEN: Final = 3
# A port that stands in every rule and differs from policy to policy: by it a client's filter is known.
FIRST_MARK: Final = 40_000


@dataclass(frozen=True, slots=True)
class Rule:
    """`names` are groups and tags."""

    sources: frozenset[str]
    targets: tuple[str, ...]
    ports: str


@dataclass(frozen=True, slots=True)
class Layout:
    """`owners[i]` is node i's: a user ("u7") or a tag ("tag:t3"). Without `rules` everybody sees everybody."""

    owners: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    rules: tuple[Rule, ...]

    def labels(self, owner: str) -> frozenset[str]:
        """What rules call this owner's nodes."""
        groups = (group for group, users in self.groups.items() if owner in users)
        return frozenset({owner, *groups})

    def sees(self, one: str, other: str) -> bool:
        """Whether nodes of these owners are peers: a rule opens one to the other."""
        if not self.rules:
            return True
        ours, theirs = self.labels(one), self.labels(other)
        return any(_opens(rule, ours, theirs) or _opens(rule, theirs, ours) for rule in self.rules)

    def expected(self) -> list[int]:
        """How many peers each node has."""
        of_owner = Counter(self.owners)
        seen = {
            owner: sum(count for other, count in of_owner.items() if self.sees(owner, other))
            for owner in of_owner
        }
        return [seen[owner] - self.sees(owner, owner) for owner in self.owners]

    def viewers(self, of_owner: str) -> list[int]:
        """The nodes that would see another node of this owner."""
        seers = {owner for owner in set(self.owners) if self.sees(owner, of_owner)}
        return [at for at, owner in enumerate(self.owners) if owner in seers]

    def filtered(self) -> list[int]:
        """The nodes that some rule lets somebody into: their filters name the mark."""
        if not self.rules:
            return list(range(len(self.owners)))
        named = frozenset[str]().union(*map(self.labels, set(self.owners)))
        alive = (rule for rule in self.rules if not rule.sources.isdisjoint(named))
        targets = {target for rule in alive for target in rule.targets}
        told = {owner for owner in set(self.owners) if not targets.isdisjoint(self.labels(owner))}
        return [at for at, owner in enumerate(self.owners) if owner in told]

    def policy(self, mark: int) -> str:
        """The policy's text; another mark makes another filter for everybody whom rules open, and no other peers."""
        if not self.rules:
            return json.dumps({"acls": [{"action": "accept", "src": ["*"], "dst": [f"*:22,{mark}"]}]})
        acls = [
            {
                "action": "accept",
                "src": sorted(rule.sources),
                "dst": [f"{target}:{rule.ports},{mark}" for target in rule.targets],
            }
            for rule in self.rules
        ]
        groups = {group: [f"{user}@" for user in users] for group, users in self.groups.items()}
        tags = {f"tag:t{at}": ["u0@"] for at in range(TAGS)}
        return json.dumps({"groups": groups, "tagOwners": tags, "acls": acls})


def layout_of(nodes: int, *, with_policy: bool) -> Layout:
    """The tailnet of this size."""
    die = random.Random(SEED)
    users, tags = [f"u{at}" for at in range(USERS)], [f"tag:t{at}" for at in range(TAGS)]
    groups = {f"group:g{at}": tuple(die.sample(users, GROUP_USERS)) for at in range(GROUPS)}
    names = [*groups, *tags]
    rules = [
        Rule(
            sources=frozenset(die.sample(names, die.randint(1, 3))),
            targets=tuple(die.sample(names, die.randint(1, 3))),
            ports=die.choice(("22", "80,443", "8000-8100", "53")),
        )
        for _ in range(RULES)
    ]
    owners = [die.choice(tags) if at % 10 < TAGGED_IN_TEN else die.choice(users) for at in range(nodes)]
    return Layout(tuple(owners), groups, tuple(rules) if with_policy else ())


def _opens(rule: Rule, sources: frozenset[str], targets: frozenset[str]) -> bool:
    return not rule.sources.isdisjoint(sources) and not targets.isdisjoint(rule.targets)
