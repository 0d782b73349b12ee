"""SSH rules as a node is sent them: who may come, as whom, in which order, and what becomes of the session."""

from datetime import timedelta
from typing import Any

import pytest

from headscale.policy.compiled import Compiled
from headscale.policy.ssh import CHECK_PATH
from headscale.policy.subjects import Person
from headscale.tailcfg.ssh import SSHAction, SSHRule
from tests.unit.policy.small import ANN, BOB, EVE, device, engine, tagged

NODES = (
    device(1, ANN),
    device(2, ANN),
    device(3, BOB),
    tagged(4, "tag:web"),
    device(5, EVE),
    tagged(6, "tag:db"),
)


def rule(src: str, dst: str, users: str = "root", **more: Any) -> dict[str, Any]:
    """One of `ssh`, that accepts unless told."""
    return {"action": "accept", "src": src.split(), "dst": dst.split(), "users": users.split(), **more}


def tailnet(*rules: dict[str, Any], **more: Any) -> Compiled:
    return engine({"ssh": list(rules), **more}, *NODES)


def sent(compiled: Compiled, node_id: int) -> tuple[SSHRule, ...]:
    policy = compiled.ssh_of(node_id)
    return policy.rules if policy else ()


def told(compiled: Compiled, node_id: int) -> list[str]:
    """The rules of a node for the eye: `last numbers of the addresses that come: local users`."""
    return [
        f"{','.join(p.node_ip.rpartition('.')[2] for p in rule.principals)}: "
        f"{' '.join(f'{name}={to}' for name, to in rule.ssh_users.items() if to)}"
        for rule in sent(compiled, node_id)
    ]


@pytest.mark.parametrize(
    ("src", "dst", "nodes"),
    [
        ("ann@", "tag:web", {4: ["1,2: root=root"]}),
        ("ann@ bob@", "tag:web tag:db", {4: ["1,2,3: root=root"], 6: ["1,2,3: root=root"]}),
        ("tag:db", "tag:web", {4: ["6: root=root"]}),
        ("autogroup:member", "autogroup:tagged", {4: ["1,2,3,5: root=root"], 6: ["1,2,3,5: root=root"]}),
        ("ann@", "ann@", {1: ["1,2: root=root"], 2: ["1,2: root=root"]}),
        ("ghost@", "tag:web", {}),
        ("user:*@example.com", "tag:web", {4: ["1,2,3: root=root"]}),
    ],
)
def test_who_may_come(src: str, dst: str, nodes: dict[int, list[str]]) -> None:
    """Every address of the sources' nodes by their ids, at the nodes that may be entered and no others."""
    compiled = tailnet(rule(src, dst))
    assert {node.id: said for node in NODES if (said := told(compiled, node.id))} == nodes


def test_own_devices() -> None:
    """Each person enters theirs, nobody another's, and nothing is said of tagged ones."""
    compiled = tailnet(rule("autogroup:member", "autogroup:self"))
    assert {node.id: told(compiled, node.id) for node in NODES} == {
        1: ["1,2: root=root"],
        2: ["1,2: root=root"],
        3: ["3: root=root"],
        4: [],
        5: ["5: root=root"],
        6: [],
    }


def test_every_address_of_a_node_comes() -> None:
    """IPv4 before IPv6."""
    compiled = engine({"ssh": [rule("ann@", "tag:web")]}, device(1, six=True), tagged(4, "tag:web"))
    assert [p.node_ip for p in sent(compiled, 4)[0].principals] == ["100.64.0.1", "fd7a:115c:a1e0::1"]


@pytest.mark.parametrize(
    ("users", "said"),
    [
        ("root", {"root": "root"}),
        ("autogroup:nonroot", {"root": "", "*": "="}),
        ("root autogroup:nonroot", {"root": "root", "*": "="}),
        ("pi ubuntu pi", {"root": "", "pi": "pi", "ubuntu": "ubuntu"}),
    ],
)
def test_local_users(users: str, said: dict[str, str]) -> None:
    """Those that are named, or any but root; root is shut unless it is named."""
    assert sent(tailnet(rule("ann@", "tag:web", users)), 4)[0].ssh_users == said


def test_checks_come_first() -> None:
    """Before all that accept, and otherwise the order of the policy: the first that fits decides."""
    rules = [
        rule("ann@", "tag:web", user, action=action)
        for user, action in zip("abcd", ["accept", "check"] * 2, strict=True)
    ]
    assert [names.split()[1] for names in told(tailnet(*rules), 4)] == ["b=b", "d=d", "a=a", "c=c"]


def test_what_becomes_of_an_accepted_session() -> None:
    """It may forward what it likes, and is not recorded."""
    assert sent(tailnet(rule("ann@", "tag:web")), 4)[0].action == SSHAction(
        accept=True,
        allow_agent_forwarding=True,
        allow_local_port_forwarding=True,
        allow_remote_port_forwarding=True,
    )


def test_a_check_is_put_to_the_server() -> None:
    """The session waits for the answer, which brings all else; the period is the server's to know."""
    checked = rule("ann@", "tag:web", action="check", checkPeriod="1h", recorder=["tag:db"])
    compiled = tailnet(checked)
    assert sent(compiled, 4)[0].action == SSHAction(hold_and_delegate=f"https://hs{CHECK_PATH}")
    assert compiled.document is not None
    assert compiled.document.ssh[0].period == timedelta(hours=1)


@pytest.mark.parametrize("enforce", [True, False])
def test_sessions_are_recorded(enforce: bool) -> None:
    """By every address of the recorders; where it must be, without a recorder there is no session."""
    nodes = (device(1), tagged(4, "tag:web"), tagged(6, "tag:db", six=True))
    recorded = rule("ann@", "tag:web", recorder=["tag:db"], enforceRecorder=enforce)
    action = sent(engine({"ssh": [recorded]}, *nodes), 4)[0].action
    assert action.recorders == ("100.64.0.6:80", "[fd7a:115c:a1e0::6]:80")
    assert (action.on_recording_failure is not None) is enforce


def test_recorders_come_and_go() -> None:
    """A recorder that joins is named from then on."""
    compiled = engine(
        {"ssh": [rule("ann@", "tag:web", recorder=["tag:db"])]}, device(1), tagged(4, "tag:web")
    )
    assert sent(compiled, 4)[0].action.recorders == ()
    assert sent(compiled.updated([tagged(6, "tag:db")]), 4)[0].action.recorders == ("100.64.0.6:80",)


def test_what_may_be_sent_along() -> None:
    """The variables that the rule lists."""
    assert sent(tailnet(rule("ann@", "tag:web", acceptEnv=["LC_*", "A?"])), 4)[0].accept_env == ("LC_*", "A?")


def test_everybody_by_their_own_login() -> None:
    """A part for each person by id, with the common users and then their own login; tagged nodes last."""
    compiled = tailnet(rule("autogroup:member autogroup:tagged", "tag:web", "pi localpart:*@example.com"))
    assert told(compiled, 4) == [
        "1,2: pi=pi",
        "1,2: ann=ann",
        "3: pi=pi",
        "3: bob=bob",
        "5: pi=pi",
        "4,6: pi=pi",
    ]


def test_a_source_is_given_its_own_part() -> None:
    """Nodes that may come but are no destination are given their own person's part (recordings ssh-d*, ssh-e*)."""
    compiled = tailnet(rule("ann@ bob@", "tag:web", "localpart:*@example.com"))
    assert told(compiled, 3) == ["3: ", "3: bob=bob"]
    assert told(compiled, 5) == []


@pytest.mark.parametrize(
    ("person", "login"),
    [
        (Person(1, "x", "Ann.B@EXAMPLE.com"), "Ann.B"),
        (Person(1, "x", "ann@sub.example.com"), None),
        (Person(1, "ann"), None),
        (Person(1, "x", "a@b@example.com"), "a@b"),
    ],
)
def test_the_login_of_a_person(person: Person, login: str | None) -> None:
    """What stands before the last @ of their address, if the domain is the rule's, in any case."""
    rules = {"ssh": [rule("autogroup:member", "tag:web", "localpart:*@example.com")]}
    compiled = engine(rules, device(1), tagged(4, "tag:web"), people=[person])
    assert [next(iter(rule.ssh_users)) for rule in sent(compiled, 4)[1:]] == ([login] if login else [])


def test_no_rules() -> None:
    """Without any rule that means the node there is no SSH policy."""
    assert tailnet().ssh_of(4) is None
    assert tailnet(rule("ann@", "tag:db")).ssh_of(4) is None


def test_people_who_come_and_go() -> None:
    """The nodes of a source that joins may enter, and of one that leaves no longer."""
    before = tailnet(rule("ann@", "tag:web"))
    assert told(before, 4) == ["1,2: root=root"]
    assert told(before.updated([device(7)], gone=[1]), 4) == ["2,7: root=root"]
    assert told(before, 4) == ["1,2: root=root"]
