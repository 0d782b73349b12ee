"""Policies of up to 10 MiB in the proportions that cost most: one part of the language fills each.

All are answered for the same tailnet: 1,000 users with a device each, and 100 tagged nodes of which ten are routers.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address, ip_network
from typing import Any, Final

from benchmarks.tailnets import FIRST_V6, subject
from headscale.policy.subjects import Person, Subject

USERS: Final = 1_000
TAGGED: Final = 100
ROUTERS: Final = 10
PEOPLE: Final = {i: Person(i, f"u{i}", f"u{i}@example.com") for i in range(1, USERS + 1)}
TAGS: Final[dict[str, list[str]]] = {f"tag:t{n}": [] for n in range(TAGGED)}
Policy = dict[str, Any]


def nodes() -> list[Subject]:
    """The nodes of the tailnet."""
    own = [subject(i, user_id=i) for i in range(1, USERS + 1)]
    tagged = [subject(USERS + 1 + n, tag=f"tag:t{n}") for n in range(TAGGED)]
    routers = [
        replace(node, routes=tuple(ip_network(f"10.{at}.{k}.0/24") for k in range(10)))
        for at, node in enumerate(tagged[:ROUTERS])
    ]
    return own + routers + tagged[ROUTERS:]


def user(number: int) -> str:
    """A user's name in a policy."""
    return f"u{number % USERS + 1}@example.com"


def tag(number: int) -> str:
    """A tag's name."""
    return f"tag:t{number % TAGGED}"


def port(number: int) -> int:
    """A port."""
    return number % 65_535 + 1


def acl(src: list[str], *dst: str) -> Policy:
    """An entry of `acls`."""
    return {"action": "accept", "src": src, "dst": list(dst)}


def wide(number: int) -> str:
    """One of many ranges of IPv6 addresses that has every node in it."""
    return f"{FIRST_V6}-{FIRST_V6 + 1_000_000 + number}"


def wide_prefix(number: int) -> str:
    """A prefix with every node in it, spelled as many ways as there are addresses in it."""
    return f"{IPv6Address(int(FIRST_V6) + number)}/64"


def rules() -> Policy:
    """130,000 rules for one user and one port each."""
    return {"acls": [acl([user(n)], f"{tag(n)}:{port(n)}") for n in range(130_000)]}


def rules_for_pairs() -> Policy:
    """100,000 rules, each for another pair of users."""
    return {"acls": [acl([user(n), user(n // USERS)], f"{tag(n)}:{port(n)}") for n in range(100_000)]}


def rules_for_everybody() -> Policy:
    """100,000 rules of one source for all users."""
    return {"acls": [acl(["autogroup:member"], f"autogroup:tagged:{port(n)}") for n in range(100_000)]}


def rules_for_everybody_and_one() -> Policy:
    """100,000 rules, each of another source set with all users in it."""
    return {
        "acls": [acl(["autogroup:member", f"x{n}@y"], f"autogroup:member:{port(n)}") for n in range(100_000)]
    }


def targets_wide() -> Policy:
    """20,000 rules to ranges with every node in them."""
    return {"acls": [acl([user(n)], f"{wide(n)}:{port(n)}") for n in range(20_000)]}


def targets_wide_in_a_rule() -> Policy:
    """One rule to 100,000 ranges with every node in them."""
    return {"acls": [acl(["autogroup:member"], *(f"{wide(n)}:22" for n in range(100_000)))]}


def sources_wide() -> Policy:
    """20,000 rules from ranges with every node in them."""
    return {"acls": [acl([wide(n)], f"{tag(n)}:{port(n)}") for n in range(20_000)]}


def sources_wide_in_a_rule() -> Policy:
    """One rule from 100,000 ranges with every node in them."""
    return {"acls": [acl([wide(n) for n in range(100_000)], "tag:t0:22")]}


def both_wide() -> Policy:
    """70,000 rules from ranges to ranges, all with every node in them."""
    return {"acls": [acl([wide(n)], f"{wide(n)}:{port(n)}") for n in range(70_000)]}


def hosts_wide() -> Policy:
    """50,000 hosts with every node in them, and a rule for each."""
    return {
        "hosts": {f"h{n}": wide(n) for n in range(50_000)},
        "acls": [acl([f"h{n}"], f"h{n}:{port(n)}") for n in range(50_000)],
    }


def prefixes_wide() -> Policy:
    """80,000 rules about spellings of one prefix with every node in it."""
    return {"acls": [acl([wide_prefix(n)], f"{wide_prefix(n)}:{port(n)}") for n in range(80_000)]}


def addresses() -> Policy:
    """120,000 rules about single addresses."""
    return {
        "acls": [
            acl([f"100.64.{n // 250 % 4}.{n % 250}"], f"100.64.{n % 4}.{n // 250 % 250}:{port(n)}")
            for n in range(120_000)
        ]
    }


def subnets() -> Policy:
    """120,000 rules about what is behind routers."""
    return {"acls": [acl([user(n)], f"10.{n % 10}.{n // 10 % 10}.0/24:{port(n)}") for n in range(120_000)]}


def own_devices() -> Policy:
    """110,000 rules about one's own devices."""
    return {"acls": [acl([user(n)], f"autogroup:self:{port(n)}") for n in range(110_000)]}


def groups() -> Policy:
    """10,000 groups of 40 users, each with a rule."""
    return {
        "groups": {f"group:g{n}": [user(n * 7 + k) for k in range(40)] for n in range(10_000)},
        "acls": [acl([f"group:g{n}"], f"{tag(n)}:{port(n)}") for n in range(10_000)],
    }


def groups_of_everybody() -> Policy:
    """400 groups of all users, and 30,000 rules between them."""
    return {
        "groups": {f"group:g{n}": [user(k) for k in range(USERS)] for n in range(400)},
        "acls": [
            acl([f"group:g{n % 400}", f"group:g{n // 400}"], f"group:g{n % 400}:{port(n)}")
            for n in range(30_000)
        ],
    }


def grants() -> Policy:
    """130,000 grants."""
    return {"grants": [{"src": [user(n)], "dst": [tag(n)], "ip": [f"tcp:{port(n)}"]} for n in range(130_000)]}


def grants_via() -> Policy:
    """100,000 grants by way of routers."""
    return {
        "grants": [
            {
                "src": [user(n)],
                "dst": [f"10.{n % 10}.{n // 10 % 10}.0/24"],
                "ip": [str(port(n))],
                "via": [tag(n % 10)],
            }
            for n in range(100_000)
        ]
    }


def grants_app() -> Policy:
    """100,000 grants of a capability."""
    return {
        "grants": [
            {"src": [user(n)], "dst": [tag(n)], "app": {"example.com/cap/a": [{"n": n}]}}
            for n in range(100_000)
        ]
    }


def grants_matrix() -> Policy:
    """500 grants of 1,000 kinds of traffic each at 500 destinations."""
    return {
        "grants": [
            {
                "src": [user(n)],
                "dst": [user(n + k) for k in range(500)],
                "ip": [f"{p}" for p in range(1000 * n % 60_000 + 1, 1000 * n % 60_000 + 1001)],
            }
            for n in range(500)
        ]
    }


def tests() -> Policy:
    """150,000 tests of a user and a port."""
    return {
        "acls": [acl(["autogroup:member"], "autogroup:tagged:*")],
        "tests": [{"src": user(n), "accept": [f"{tag(n)}:{port(n)}"]} for n in range(150_000)],
    }


def tests_of_everybody() -> Policy:
    """Each user has a rule, and 140,000 tests ask about all users."""
    return {
        "acls": [acl([user(n)], f"{user(n + 1)}:22", "autogroup:tagged:22") for n in range(USERS)],
        "tests": [{"src": "autogroup:member", "accept": ["tag:t0:22"]} for n in range(140_000)],
    }


def tests_of_everybody_to_everybody() -> Policy:
    """As before, but 120,000 tests about all users on both sides."""
    return {
        "acls": [acl([user(n)], f"{user(n + 1)}:22", "autogroup:tagged:22") for n in range(USERS)]
        + [acl(["autogroup:member"], "autogroup:member:22")],
        "tests": [{"src": "autogroup:member", "accept": ["autogroup:member:22"]} for n in range(120_000)],
    }


def tests_of_many_rules() -> Policy:
    """60,000 tests of 50,000 rules of the same source."""
    return {
        "acls": [acl(["autogroup:member"], f"autogroup:tagged:{port(n)}") for n in range(50_000)],
        "tests": [{"src": user(n), "accept": [f"{tag(n)}:{n % 50_000 + 1}"]} for n in range(60_000)],
    }


def tests_of_addresses() -> Policy:
    """130,000 tests of addresses that no node has."""
    return {
        "acls": [acl(["*"], "*:*")],
        "tests": [
            {"src": user(n), "accept": [f"10.{n % 10}.{n // 250 % 250}.{n % 250}:22"]} for n in range(130_000)
        ],
    }


def ssh_rules() -> Policy:
    """100,000 rules for SSH."""
    return {
        "ssh": [
            {"action": "accept", "src": [user(n)], "dst": [tag(n)], "users": [f"l{n}"]}
            for n in range(100_000)
        ]
    }


def ssh_rules_for_everybody() -> Policy:
    """1,000 rules for SSH from everybody to all tagged nodes."""
    return {
        "ssh": [
            {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:tagged"], "users": [f"l{n}"]}
            for n in range(1_000)
        ]
    }


def ssh_tests() -> Policy:
    """40,000 rules and 40,000 tests for SSH."""
    return {
        "ssh": [
            {"action": "accept", "src": [user(n)], "dst": [tag(n)], "users": [f"l{n}"]} for n in range(40_000)
        ],
        "sshTests": [{"src": user(n), "dst": [tag(n)], "accept": [f"l{n}"]} for n in range(40_000)],
    }


def ssh_tests_of_everybody() -> Policy:
    """100,000 tests of one rule."""
    return {
        "ssh": [
            {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:tagged"], "users": ["root"]}
        ],
        "sshTests": [
            {"src": "autogroup:member", "dst": ["autogroup:tagged"], "accept": ["root"]}
            for n in range(100_000)
        ],
    }


def node_attributes() -> Policy:
    """180,000 attributes of one user each."""
    return {"nodeAttrs": [{"target": [user(n)], "attr": [f"a{n}"]} for n in range(180_000)]}


def node_attributes_of_everybody() -> Policy:
    """220,000 entries that give every node one of 100 attributes."""
    return {"nodeAttrs": [{"target": ["*"], "attr": [f"a{n % 100}"]} for n in range(220_000)]}


def node_apps() -> Policy:
    """70,000 values for one attribute."""
    return {
        "nodeAttrs": [
            {
                "target": ["*"],
                "app": {"tailscale.com/app-connectors": [{"name": f"a{n}", "connectors": [tag(n)]}]},
            }
            for n in range(70_000)
        ]
    }


def tag_owners() -> Policy:
    """250,000 tags in one chain of owners."""
    return {
        "tagOwners": {f"tag:c{n}": [f"tag:c{n + 1}"] for n in range(250_000)}
        | {"tag:c250000": ["u1@example.com"]}
    }


def tag_owners_all() -> Policy:
    """850 tags that all own each other."""
    return {"tagOwners": {f"tag:c{n}": [f"tag:c{m}" for m in range(850)] for n in range(850)}}


def approvers() -> Policy:
    """280,000 routes that are approved."""
    return {
        "autoApprovers": {
            "routes": {f"10.{n // 65536}.{n // 256 % 256}.{n % 256}/32": [tag(n)] for n in range(280_000)}
        }
    }


def approvers_many() -> Policy:
    """900 routes with 500 approvers each."""
    return {
        "autoApprovers": {
            "routes": {
                f"10.{n // 256 % 256}.{n % 256}.0/24": [user(n + k) for k in range(500)] for n in range(900)
            }
        }
    }


SHAPES: Final[dict[str, Callable[[], Policy]]] = {
    make.__name__: make
    for make in (
        rules,
        rules_for_pairs,
        rules_for_everybody,
        rules_for_everybody_and_one,
        targets_wide,
        targets_wide_in_a_rule,
        sources_wide,
        sources_wide_in_a_rule,
        both_wide,
        hosts_wide,
        prefixes_wide,
        addresses,
        subnets,
        own_devices,
        groups,
        groups_of_everybody,
        grants,
        grants_via,
        grants_app,
        grants_matrix,
        tests,
        tests_of_everybody,
        tests_of_everybody_to_everybody,
        tests_of_many_rules,
        tests_of_addresses,
        ssh_rules,
        ssh_rules_for_everybody,
        ssh_tests,
        ssh_tests_of_everybody,
        node_attributes,
        node_attributes_of_everybody,
        node_apps,
        tag_owners,
        tag_owners_all,
        approvers,
        approvers_many,
    )
}


def text_of(name: str) -> str:
    """The policy of this shape."""
    policy = SHAPES[name]()
    return json.dumps(
        {"acls": []} | policy | {"tagOwners": TAGS | policy.get("tagOwners", {})}, separators=(",", ":")
    )
