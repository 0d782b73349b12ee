"""SSH rules as one node is given them.

A rule goes to the nodes that may be entered, with a principal for every address of every node that may come. Rules
that check come before those that accept, else they keep the order of the policy; the first that fits decides.

Where a rule has `localpart:*@domain` users it is split by the person who comes, in the order of their ids, tagged
nodes last: each part has the common users, and after it a second rule opens the person's own login. Nodes that may
come, but are not destinations, are given their own person's part too (recordings ssh-d*, ssh-e*).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from headscale.policy.document import SSH, Document
from headscale.policy.facts import Facts
from headscale.policy.filed import Filed, filed
from headscale.policy.members import Members
from headscale.policy.subjects import Person
from headscale.policy.who import Who, who_of
from headscale.tailcfg.ssh import OnRecordingFailure, SSHAction, SSHPolicy, SSHPrincipal, SSHRule

# Where the client asks whether a session may go on; it fills in the names with a dollar sign.
# Source: tailscale.com v1.102.4, ssh/tailssh (expandDelegateURLLocked).
CHECK_PATH: Final = "/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID?local_user=$LOCAL_USER"
SSH_PORT_OF_RECORDERS: Final = 80


@dataclass(frozen=True, slots=True)
class Rule:
    """One of `ssh`, resolved to labels."""

    written: SSH
    sources: Who
    destinations: Who
    recorders: Who


def ssh_rules_of(document: Document) -> Filed[Rule]:
    """All rules, in the order in which they are sent, filed by destination."""
    rules = (
        Rule(rule, who_of(rule.sources), who_of(rule.destinations), who_of(rule.recorders))
        for rule in sorted(document.ssh, key=lambda rule: not rule.check)
    )
    return filed(
        (rule.destinations, rule.destinations.own or bool(rule.written.users.domains), rule) for rule in rules
    )


def labels_needed(rules: Iterable[Rule]) -> frozenset[str]:
    """The labels whose nodes are asked for one by one: sources, recorders, and everybody's own devices."""
    return frozenset().union(*(rule.sources.labels | rule.recorders.labels for rule in rules))


def rules_for(
    rules: Filed[Rule], facts: Facts, members: Members, people: Mapping[int, Person], *, base_url: str
) -> SSHPolicy | None:
    """The node's rules; None when there are none."""
    found: list[SSHRule] = []
    for rule in rules.about(facts.kind.labels):
        sources = _sources_for(rule, facts, members)
        if sources:
            found += _parts(rule, sources, action_of(rule, members, base_url), people)
    return SSHPolicy(tuple(found)) if found else None


@dataclass(frozen=True, slots=True)
class Checked:
    """A session that a rule lets in after a check: how long one check lasts, and what is done with the session then."""

    period: timedelta
    action: SSHAction


def checked(
    rules: Filed[Rule],
    facts: Facts,
    source: Facts,
    members: Members,
    people: Mapping[int, Person],
    *,
    local_user: str,
) -> Checked | None:
    """The check that a session of this source as this local user needs at this node; None when no rule asks for one."""
    for rule in rules.about(facts.kind.labels):
        if not rule.written.check:
            return None  # those that check come first
        coming = [each for each in _sources_for(rule, facts, members) if each.subject.id == source.subject.id]
        if not coming:
            continue
        for part in _parts(rule, coming, SSHAction(), people):
            if _lets_in(part.ssh_users, local_user):
                return Checked(rule.written.period, _accepting(rule, members))
    return None


def _lets_in(users: Mapping[str, str], local_user: str) -> bool:
    """Whether a rule with these users opens this local user: by name, or as any but root."""
    if local_user in users:
        return users[local_user] == local_user
    return local_user != "root" and users.get("*") == "="


def _sources_for(rule: Rule, facts: Facts, members: Members) -> list[Facts]:
    """The nodes whose coming this rule means at this node."""
    sources = members.labelled(rule.sources.labels)
    if not rule.destinations.labels.isdisjoint(facts.kind.labels):
        return sources
    user_id = facts.subject.user_id
    mine = [f for f in sources if f.subject.user_id == user_id] if user_id is not None else [facts]
    if rule.destinations.own and user_id is not None:
        return mine
    if rule.written.users.domains and not rule.sources.labels.isdisjoint(facts.kind.labels):
        return mine
    return []


def _parts(
    rule: Rule, ordered: list[Facts], action: SSHAction, people: Mapping[int, Person]
) -> Iterator[SSHRule]:
    users = _common_users(rule.written)
    if not rule.written.users.domains:
        if principals := _principals(ordered):
            yield SSHRule(principals, users, action, rule.written.accept_env)
        return
    for user_id in sorted({f.subject.user_id for f in ordered if f.subject.user_id is not None}):
        principals = _principals(f for f in ordered if f.subject.user_id == user_id)
        if not principals:
            continue
        yield SSHRule(principals, users, action, rule.written.accept_env)
        person = people.get(user_id)
        if person is not None and (login := _login(rule.written, person)):
            yield SSHRule(principals, {login: login}, action, rule.written.accept_env)
    if principals := _principals(f for f in ordered if f.subject.user_id is None):
        yield SSHRule(principals, users, action, rule.written.accept_env)


def _principals(sources: Iterable[Facts]) -> tuple[SSHPrincipal, ...]:
    return tuple(
        SSHPrincipal(str(address))
        for facts in sources
        for address in (facts.subject.ipv4, facts.subject.ipv6)
        if address is not None
    )


def _common_users(rule: SSH) -> dict[str, str]:
    users = {"root": "root" if rule.users.root else ""}
    if rule.users.nonroot:
        users["*"] = "="
    users.update((name, name) for name in rule.users.names)
    return users


def _login(rule: SSH, person: Person) -> str:
    """The part of the person's e-mail address before the domain, when the domain is one of the rule's."""
    local, _, domain = person.email.rpartition("@")
    return local if any(domain.casefold() == d.domain.casefold() for d in rule.users.domains) else ""


def action_of(rule: Rule, members: Members, base_url: str) -> SSHAction:
    """What the client does with a session that the rule fits."""
    if rule.written.check:
        # The answer to the check brings forwarding and recorders.
        return SSHAction(hold_and_delegate=base_url + CHECK_PATH)
    return _accepting(rule, members)


def _accepting(rule: Rule, members: Members) -> SSHAction:
    """The session goes on, with all that it may do."""
    recorders = tuple(
        f"[{address}]:{SSH_PORT_OF_RECORDERS}"
        if address.version == 6
        else f"{address}:{SSH_PORT_OF_RECORDERS}"
        for facts in members.labelled(rule.recorders.labels)
        for address in (facts.subject.ipv4, facts.subject.ipv6)
        if address is not None
    )
    failure = _MUST_RECORD if rule.written.enforce_recorder else None
    return SSHAction(
        accept=True,
        allow_agent_forwarding=True,
        allow_local_port_forwarding=True,
        allow_remote_port_forwarding=True,
        recorders=recorders,
        on_recording_failure=failure if recorders else None,
    )


_MUST_RECORD: Final = OnRecordingFailure(
    reject_session_with_message="this session must be recorded, and no recorder can be reached",
    terminate_session_with_message="the recording of this session failed",
)
