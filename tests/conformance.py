"""Recorded answers of the hosted service: load them, and say when ours are the same.

The corpus is a folder of `<category>.jsonl.gz`, one JSON object (a case) a line. It is not part of this repository:
`HEADSCALE_CONFORMANCE_DIR` names it, by default `shared/conformance` beside the checkout. What its fields mean and
which differences count stands in its own README.
"""

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

Case = dict[str, Any]
Rule = Mapping[str, Any]
Span = tuple[int, int, int]  # family (4 or 6), first address, last address

CATEGORIES = ("acl", "grant", "routes", "exit_visibility", "nodeattrs", "policytest", "ssh", "sshtest")
EVERY_ADDRESS: tuple[Span, ...] = ((4, 0, 2**32 - 1), (6, 0, 2**128 - 1))

# Capabilities that mirror features or tailnet state outside the policy: whoever has them, has them on both sides.
CAPS_BESIDE_THE_POLICY = frozenset(
    {
        "https://tailscale.com/cap/is-admin",
        "https://tailscale.com/cap/is-owner",
        "https://tailscale.com/cap/tailnet-lock",
        "https://tailscale.com/cap/warn-funnel-no-https",
        "native-ipv4",
        "probe-udp-lifetime",
        "service-host",
        "ssh-behavior-v1",
        "ssh-env-vars",
        "store-appc-routes",
        "tailnet-display-name",
        "tailnet.maxKeyDuration",
    }
)
FUNNEL_PORTS = "https://tailscale.com/cap/funnel-ports?"


def corpus() -> Path:
    """The folder with the recordings, whether or not it is there."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "conformance"
    return Path(os.environ.get("HEADSCALE_CONFORMANCE_DIR") or beside)


@cache
def _read(path: Path) -> tuple[Case, ...]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return tuple(json.loads(line) for line in lines)


def load(category: str) -> list[Case]:
    """Every case of one category in recorded order; none where the corpus is absent.

    The cases are shared between callers and must not be changed.
    """
    if category not in CATEGORIES:
        raise ValueError(f"no category {category!r}; there are {', '.join(CATEGORIES)}")
    path = corpus() / f"{category}.jsonl.gz"
    return list(_read(path)) if path.is_file() else []


def params(*categories: str, accepted_only: bool = False) -> list[Any]:
    """One pytest parameter a case, named by the case's id; a single skipped one where the corpus is absent."""
    cases = [case for category in categories for case in load(category)]
    if not cases:
        absent = pytest.mark.skip(reason=f"no conformance corpus at {corpus()} (HEADSCALE_CONFORMANCE_DIR)")
        return [pytest.param({}, id="no-corpus", marks=absent)]
    return [
        pytest.param(case, id=case["id"])
        for case in cases
        if case["expected"]["accepted"] or not accepted_only
    ]


def spans(notation: str) -> tuple[Span, ...]:
    """The addresses that one wire notation stands for: `*`, an address, a prefix, or `first-last`."""
    if notation == "*":
        return EVERY_ADDRESS
    if "-" in notation:
        first, last = (ip_address(end) for end in notation.split("-"))
        return ((first.version, int(first), int(last)),)
    net = ip_network(notation)
    return ((net.version, int(net.network_address), int(net.broadcast_address)),)


def address_set(notations: Sequence[str] | None) -> list[Span]:
    """The addresses of a list of notations as the fewest spans, in order."""
    joined: list[Span] = []
    for family, first, last in sorted(span for notation in notations or () for span in spans(notation)):
        if joined and joined[-1][0] == family and first <= joined[-1][2] + 1:
            joined[-1] = (family, joined[-1][1], max(last, joined[-1][2]))
        else:
            joined.append((family, first, last))
    return joined


def same_rules(want: Sequence[Rule] | None, got: Sequence[Rule] | None, *, strict: bool = False) -> bool:
    """Whether two packet filters in wire form are the same list of rules.

    The order of rules counts, the order inside a rule does not, and addresses are compared as sets. With `strict`
    the exact notations count, as a multiset; a miss in that mode alone is not an error.
    """
    return [_rule(rule, strict=strict) for rule in want or ()] == [
        _rule(rule, strict=strict) for rule in got or ()
    ]


def _rule(rule: Rule, *, strict: bool) -> object:
    """What counts about a filter rule, in a form that `==` compares."""

    def addresses(notations: Sequence[str]) -> object:
        return sorted(notations) if strict else address_set(notations)

    by_ports: dict[tuple[int, int], list[str]] = {}
    for dst in rule.get("DstPorts") or ():
        by_ports.setdefault((dst["Ports"]["First"], dst["Ports"]["Last"]), []).append(dst["IP"])
    grants = [
        (addresses(grant["Dsts"]), {cap: values or [] for cap, values in grant["CapMap"].items()})
        for grant in rule.get("CapGrant") or ()
    ]
    return (
        addresses(rule.get("SrcIPs") or ()),
        sorted(rule.get("IPProto") or ()),
        [(ports, addresses(ips)) for ports, ips in sorted(by_ports.items())],
        grants,
    )


def same_ssh(want: Sequence[Rule] | None, got: Sequence[Rule] | None, *, strict: bool = False) -> bool:
    """Whether two SSH policies in wire form are the same list of rules, in order.

    Of a delegated (`check`) action only its presence counts. With `strict` a principal that stands twice counts twice.
    """
    return [_ssh_rule(rule, strict=strict) for rule in want or ()] == [
        _ssh_rule(rule, strict=strict) for rule in got or ()
    ]


def _ssh_rule(rule: Rule, *, strict: bool) -> object:
    addresses = [principal["nodeIP"] for principal in rule["principals"]]
    action = {name: value for name, value in rule["action"].items() if value}
    if "holdAndDelegate" in action:
        action["holdAndDelegate"] = True
    principals = sorted(addresses if strict else set(addresses))
    return (principals, rule["sshUsers"], action, rule.get("acceptEnv") or [])


def same_caps(want: Mapping[str, Any] | None, got: Mapping[str, Any] | None) -> bool:
    """Whether two capability maps agree in what a policy decides; `null` and `[]` are the same value."""
    return _caps(want) == _caps(got)


def _caps(caps: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        cap: values or []
        for cap, values in (caps or {}).items()
        if cap not in CAPS_BESIDE_THE_POLICY and not cap.startswith(FUNNEL_PORTS)
    }
