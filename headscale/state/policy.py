"""Setting a policy: work it out beside the state, then put it in force in one step.

Parsing and compiling take long for a large tailnet, so `prepare` runs in a thread, against the snapshot of that
moment. What changed until its turn comes is made up for inside the step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from headscale.ipset import IPSet, of_networks
from headscale.policy.checks import run_tests
from headscale.policy.compiled import Compiled, compile_policy
from headscale.policy.complaints import Complaint, PolicyRefused
from headscale.policy.parse import parse_policy
from headscale.policy.program import TAILNET
from headscale.policy.subjects import Subject
from headscale.records import Advance, Counter, Insert, Node, PolicyText, TailnetSettings, Update, Write
from headscale.state.addresses import CHROMEOS
from headscale.state.approvals import approved
from headscale.state.effect import Effect, Moment
from headscale.state.snapshot import Snapshot, put_node, with_favourites


@dataclass(frozen=True, slots=True)
class Prepared:
    """A policy worked out for the tailnet of a moment; `failures` is what its own tests find wrong with it."""

    text: str
    compiled: Compiled
    failures: tuple[Complaint, ...] = ()


def prepare(snapshot: Snapshot, text: str) -> Prepared:
    """The policy, worked out and tested; raises PolicyRefused with everything that is wrong with it."""
    prepared = work_out(snapshot, text)
    if prepared.failures:
        raise PolicyRefused(prepared.failures)
    return prepared


def work_out(snapshot: Snapshot, text: str) -> Prepared:
    """As `prepare`, but with tests that may fail: a policy that was good once must not keep a server down."""
    document = parse_policy(text)
    current = snapshot.policy
    compiled = compile_policy(
        document,
        people=current.people,
        subjects=current.subjects.values(),
        tailnet=tailnet_of(snapshot.settings),
        base_url=snapshot.settings.server_url,
    )
    return Prepared(text, compiled, run_tests(compiled))


def tailnet_of(settings: TailnetSettings) -> IPSet:
    """Where nodes' addresses come from: the usual prefixes, and the operator's when they are others."""
    own = [prefix for prefix in (settings.prefix_v4, settings.prefix_v6) if prefix is not None]
    return TAILNET | (of_networks(*own) - of_networks(CHROMEOS))


def set_policy(snapshot: Snapshot, moment: Moment, *, prepared: Prepared) -> Effect[PolicyText]:
    """The policy is in force and kept as a new row; the one that is in force already is left as it is."""
    if snapshot.policy_text and snapshot.policy_text.text == prepared.text and not snapshot.policy_problem:
        return Effect(snapshot, snapshot.policy_text)
    row = PolicyText(id=snapshot.last_policy_id + 1, text=prepared.text, created_at=moment.now)
    adopted = adopt_policy(snapshot, moment, prepared=prepared, origin=row)
    return replace(
        adopted,
        snapshot=replace(adopted.snapshot, last_policy_id=row.id),
        writes=(Insert(row), Advance(Counter.POLICY, row.id), *adopted.writes),
    )


def adopt_policy(
    snapshot: Snapshot, moment: Moment, *, prepared: Prepared, origin: PolicyText, problem: str = ""
) -> Effect[PolicyText]:
    """The policy is in force, and kept where it came from: in a file, or in the row that a server starts with.

    `problem` says why it is another one than the one that was set last.
    """
    after = replace(
        snapshot,
        policy=_caught_up(prepared.compiled, snapshot.policy),
        policy_text=origin,
        policy_epoch=snapshot.policy_epoch + 1,
        policy_problem=problem,
    )
    after = with_favourites(after)
    writes: list[Write] = []
    approvals = _approvals(after)
    for node in approvals:
        after = put_node(after, node)
        writes.append(Update(node))
    return Effect(after, origin, tuple(writes), frozenset(node.id for node in approvals))


def _approvals(snapshot: Snapshot) -> list[Node]:
    """The nodes that have more routes approved by the policy that is in force now."""
    candidates = [node for node in snapshot.nodes.values() if node.hostinfo.routable_ips]
    renewed = [(node, approved(snapshot.policy, node)) for node in candidates]
    return [after for before, after in renewed if after is not before]


def _caught_up(compiled: Compiled, current: Compiled) -> Compiled:
    """The new policy for the nodes and users of now, who may be others than when it was worked out."""
    if compiled.people is not current.people and compiled.people != current.people:
        compiled = compiled.with_people(current.people)
    changed = [s for s in current.subjects.values() if not _knows(compiled.subjects, s)]
    gone = [node_id for node_id in compiled.subjects if node_id not in current.subjects]
    return compiled.updated(changed, gone) if changed or gone else compiled


def _knows(subjects: Mapping[int, Subject], subject: Subject) -> bool:
    known = subjects.get(subject.id)
    return known is subject or known == subject
