"""Answers about a policy as people read them."""

from typing import Any

from headscale.cli.policyanswers import NAMES_MAX, difference, explanation

RULE = {"path": "acls[0]", "line": 4, "says": "alice@ → tag:web: 443"}


def asked(*answers: dict[str, Any], protocol: str = "tcp or udp", port: int | None = 443, **more: Any) -> Any:
    """The API's answer to a question."""
    return {"protocol": protocol, "port": port, "answers": answers, "notes": [], **more}


def answer(**what: Any) -> dict[str, Any]:
    """A no without any reason, unless told otherwise."""
    empty: dict[str, Any] = {
        "by": [],
        "nearly": [],
        "others": [],
        "byMore": 0,
        "nearlyMore": 0,
        "othersMore": 0,
    }
    return {"sources": ["laptop"], "targets": ["web1"], "allowed": False, "through": [], **empty, **what}


def test_a_yes_is_its_rules() -> None:
    found = explanation(asked(answer(allowed=True, through=["tcp", "udp"], by=[RULE], byMore=3)))
    assert found.splitlines() == [
        "allowed: laptop → web1, tcp or udp port 443",
        "  acls[0] (line 4): alice@ → tag:web: 443",
        "  and 3 more",
    ]


def test_a_yes_for_one_protocol_says_which() -> None:
    found = explanation(asked(answer(allowed=True, through=["udp"], by=[RULE])))
    assert found.startswith("allowed: laptop → web1, tcp or udp port 443, but only udp\n")


def test_a_no_says_why() -> None:
    found = explanation(asked(answer(nearly=[RULE], others=[RULE], othersMore=1), port=None, protocol="icmp"))
    assert found.splitlines() == [
        "denied: laptop → web1, icmp",
        "  the rules between the two are about other traffic:",
        "    acls[0] (line 4): alice@ → tag:web: 443",
        "  who may send this there:",
        "    acls[0] (line 4): alice@ → tag:web: 443",
        "    and 1 more",
    ]


def test_a_no_without_any_rule() -> None:
    assert explanation(asked(answer(), port=None, protocol="anything")).splitlines() == [
        "denied: laptop → web1, anything",
        "  no rule lets the one reach the other",
        "  nobody may send this there",
    ]


def test_without_a_policy_there_is_no_place() -> None:
    open_to_all = {"path": "", "line": 0, "says": "there is no policy"}
    found = explanation(asked(answer(allowed=True, through=["tcp"], by=[open_to_all]), protocol="tcp"))
    assert found.splitlines()[1] == "  there is no policy"


def test_several_answers_and_notes_are_paragraphs() -> None:
    found = explanation(asked(answer(), answer(), notes=["mind the gap"]))
    assert len(found.split("\n\n")) == 3
    assert found.endswith("\n\nnote: mind the gap")


def test_of_many_names_the_first_are_told() -> None:
    """Up to the limit all of them."""
    names = [f"n{i}" for i in range(NAMES_MAX)]
    assert f"denied: {', '.join(names)} → web1" in explanation(asked(answer(sources=names)))
    assert f"n{NAMES_MAX - 1}, 2 more → web1" in explanation(asked(answer(sources=[*names, "y", "z"])))


def compared(**what: Any) -> Any:
    """The API's answer to a comparison."""
    nothing: dict[str, Any] = {"access": [], "attributes": [], "autoApprovals": [], "tagOwners": []}
    return {"changed": bool(what), **nothing, **what}


def test_no_difference_is_said() -> None:
    assert difference(compared()) == "no difference in access"


def test_who_gains_and_loses_what() -> None:
    access = {"sources": ["a@", "b@"], "target": "tag:web", "gained": ["tcp:443"], "lost": ["udp:53"]}
    attributes = {"nodes": ["web1"], "gained": ["x"], "lost": []}
    routes = {"nodes": ["router"], "gained": [], "lost": ["10.1.0.0/16"]}
    owners = {"tag": "tag:web", "gained": ["alice@"], "lost": []}
    found = difference(
        compared(access=[access], attributes=[attributes], autoApprovals=[routes], tagOwners=[owners])
    )
    assert found.splitlines() == [
        "a@, b@ → tag:web",
        "  + tcp:443",
        "  - udp:53",
        "attributes of web1",
        "  + x",
        "routes of router, approved automatically",
        "  - 10.1.0.0/16",
        "who may give tag:web",
        "  + alice@",
    ]


def test_everything_is_one_word() -> None:
    everything = ["icmp", "ipv6-icmp", "ssh as me", "tcp:*", "udp:*"]
    access = {"sources": ["a@"], "target": "b@", "gained": everything, "lost": []}
    assert difference(compared(access=[access])).splitlines() == ["a@ → b@", "  + *, ssh as me"]
