"""A policy worked out for a tailnet: what every node lets in, sees and may do.

A value: nothing that it answers ever changes, though it remembers answers. `compile_policy` makes one, `updated`
derives the next one after nodes changed, at the cost of those nodes; both answer the same for the same tailnet.
Answers are worked out when they are asked for, once for all nodes that have the same.
"""

from collections.abc import Hashable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final
from weakref import WeakKeyDictionary

from headscale.ipset import Address, IPSet, of_networks
from headscale.policy import approvals, attributes, ssh
from headscale.policy.aliases import UserDomain, UserName
from headscale.policy.document import Document, users_named
from headscale.policy.facts import FactMaker, Facts, NodeClass, Reached, kind_of
from headscale.policy.filed import Filed
from headscale.policy.filters import Plan, Template, plan_for, say_the_same, template_of
from headscale.policy.members import Members, SourceText, members_of
from headscale.policy.program import TAILNET, Program, program_of
from headscale.policy.reach import Reach, Visible, see_each_other
from headscale.policy.subjects import EXIT_ROUTES, Network, Person, Subject
from headscale.policy.who import Directory, Kind, directory
from headscale.tailcfg.filters import ALLOW_ALL, FilterRule
from headscale.tailcfg.node import CapMap
from headscale.tailcfg.ssh import SSHPolicy

# How many templates of a kind are kept: streams compare the one that they were sent with the newest.
_TEMPLATES_KEPT: Final = 2
# How much is remembered of whom classes see: 8 bytes each, so at most 64 MiB.
_PEERS_KEPT: Final = 8 * 1024 * 1024
_OPEN: Final = Document()
# Of each subnet route and tag: the router with it that serves, told last in a tuple of which the least is best.
Favourites = Mapping[tuple[Network, str], tuple[int, int, int]]
NO_FAVOURITES: Final[Favourites] = {}


@dataclass(frozen=True, slots=True)
class _Known:
    """A template, and what it was made of: it holds while all of that is the same objects."""

    plan: Plan
    used: Mapping[tuple[int, int | None], SourceText]
    template: Template


@dataclass(frozen=True, slots=True)
class _Workings:
    """What depends on the document and the users alone, and is shared by all that `updated` derives.

    Templates are kept for nodes for which the rules say the same; each says itself what it was made of.
    """

    program: Program
    facts: FactMaker
    reach: Reach
    approvals: approvals.Approvals
    attributes: attributes.Attributes
    ssh_rules: Filed[ssh.Rule]
    users_named: frozenset[UserName | UserDomain]
    base_url: str
    templates: "WeakKeyDictionary[Reached, list[_Known]]" = field(default_factory=WeakKeyDictionary)

    def with_directory(self, fresh: Directory, others: Set[int]) -> "_Workings":
        """The same for other users, of whom these have other labels than before."""
        program = replace(self.program, directory=fresh)
        make = self.facts.for_program(program, without=others)
        return replace(self, program=program, facts=make, reach=self.reach.for_program(program))


@dataclass(frozen=True, slots=True)
class _Table:
    """Which classes see which, and the nodes of each."""

    visible: Visible
    members: Mapping[NodeClass, list[int]]


@dataclass(frozen=True, slots=True)
class _Index:
    """The nodes by address and label, for single questions."""

    by_address: Mapping[Address, Facts]
    by_label: Mapping[str, list[Facts]]
    routed: IPSet


def _index_of(members: Members) -> _Index:
    by_address: dict[Address, Facts] = {}
    by_label: dict[str, list[Facts]] = {}
    for facts in members.nodes.values():
        for address in (facts.subject.ipv4, facts.subject.ipv6):
            if address is not None:
                by_address.setdefault(address, facts)
        for label in facts.kind.labels:
            by_label.setdefault(label, []).append(facts)
    return _Index(by_address, by_label, of_networks(*members.routers))


@dataclass(frozen=True, slots=True)
class _Answers:
    """What one value has been asked so far.

    Threads may ask at the same time: each entry is finished before it is put here, and whoever comes second puts an
    equal one. Lists hold one at most.
    """

    subjects: list[Mapping[int, Subject]] = field(default_factory=list)
    tables: list[_Table] = field(default_factory=list)
    index: list["_Index"] = field(default_factory=list)
    peers: dict[NodeClass, tuple[int, ...]] = field(default_factory=dict)
    templates: dict[Reached, Template] = field(default_factory=dict)
    same: dict[tuple[Template, Template], bool] = field(default_factory=dict)
    ssh: dict[int, SSHPolicy | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """See the module. `document` is None when there is no policy: everybody reaches everything."""

    document: Document | None
    people: Mapping[int, Person]
    _workings: _Workings
    _members: Members
    _answers: _Answers = field(default_factory=_Answers)

    @property
    def subjects(self) -> Mapping[int, Subject]:
        """All nodes by id."""
        known = self._answers.subjects
        if not known:
            known.append({node_id: facts.subject for node_id, facts in self._members.nodes.items()})
        return known[0]

    @property
    def program(self) -> Program:
        """The rules as they were resolved, for those who explain them."""
        return self._workings.program

    @property
    def ssh_rules(self) -> Filed[ssh.Rule]:
        """The SSH rules as they were resolved."""
        return self._workings.ssh_rules

    @property
    def nodes(self) -> Mapping[int, Facts]:
        """What the policy makes of each node, for those who explain it."""
        return self._members.nodes

    def node_at(self, address: Address) -> Facts | None:
        """The node with this address."""
        return self._index().by_address.get(address)

    def labelled(self, labels: Iterable[str]) -> list[Facts]:
        """The nodes with any of these labels, by id."""
        found = (facts for label in labels for facts in self._index().by_label.get(label, ()))
        return sorted({facts.subject.id: facts for facts in found}.values(), key=lambda f: f.subject.id)

    @property
    def all_nodes(self) -> list[Facts]:
        """All nodes, by id."""
        return [facts for _, facts in sorted(self._members.nodes.items())]

    @property
    def routed(self) -> IPSet:
        """All that is behind routers."""
        return self._index().routed

    def _index(self) -> "_Index":
        known = self._answers.index
        if not known:
            known.append(_index_of(self._members))
        return known[0]

    def updated(self, changed: Iterable[Subject] = (), gone: Iterable[int] = ()) -> "Compiled":
        """The same policy for a tailnet in which these nodes are new or changed, and those gone."""
        make = self._workings.facts.of
        members = self._members.changed([make(subject) for subject in changed], gone)
        if members is self._members:
            return self
        return Compiled(self.document, self.people, self._workings, members)

    def with_people(self, people: Mapping[int, Person]) -> "Compiled":
        """The same policy and nodes for other users: one is new, renamed or gone."""
        if people == self.people:
            return self
        groups = self.document.groups if self.document else {}
        known = self.program.directory
        fresh = directory(people, groups, self._workings.users_named)
        others = {i for i in {*people, *self.people} if fresh.labels(i) != known.labels(i)}
        workings = self._workings.with_directory(fresh, others)
        changed = [f.subject for f in self._members.nodes.values() if f.subject.user_id in others]
        members = replace(self._members, program=workings.program)
        members = members.changed(map(workings.facts.of, changed), ())
        return Compiled(self.document, people, workings, members)

    def filter_of(self, node_id: int) -> tuple[FilterRule, ...]:
        """What the node lets in, written out anew each time; `filter_key` says whether that is needed."""
        if self.document is None:
            return ALLOW_ALL
        facts = self._members.nodes.get(node_id)
        return self._template(facts).rules(facts.subject) if facts else ()

    def filter_key(self, node_id: int) -> Hashable:
        """Equal while the node's filter is the same, across `updated`, and for nodes that let the same in.

        Different keys may still stand for equal filters, when the policy was compiled anew in between.
        """
        facts = self._members.nodes.get(node_id)
        if self.document is None or facts is None:
            return facts is None
        template = self._template(facts)
        subject = facts.subject
        return (template, None) if template.is_fixed else (template, (subject.ipv4, subject.ipv6))

    def keeps_filter(self, node_id: int, before: "Compiled") -> bool:
        """Whether the node's filter is what it was under an earlier policy, or the same one for other nodes."""
        key, earlier = self.filter_key(node_id), before.filter_key(node_id)
        if key == earlier:
            return True
        if not isinstance(key, tuple) or not isinstance(earlier, tuple) or key[1] != earlier[1]:
            return False
        both = (earlier[0], key[0])
        if both not in self._answers.same:
            self._answers.same[both] = say_the_same(*both)
        return self._answers.same[both]

    def _template(self, facts: Facts) -> Template:
        """The filter's template: one for all nodes for which the rules say the same."""
        reached = facts.standing.reached
        if (template := self._answers.templates.get(reached)) is not None:
            return template
        kept = self._workings.templates.setdefault(reached, [])
        known = next((known for known in kept if self._holds(known)), None)
        if known is None:
            plan = kept[0].plan if kept else plan_for(self.program, facts)
            known = self._new_template(facts, plan)
            kept[:] = [known, *kept][:_TEMPLATES_KEPT]
        return self._answers.templates.setdefault(reached, known.template)

    def _holds(self, known: _Known) -> bool:
        return all(self._members.text(*key) is text for key, text in known.used.items())

    def _new_template(self, facts: Facts, plan: Plan) -> _Known:
        used: dict[tuple[int, int | None], SourceText] = {}

        def text(number: int, user_id: int | None) -> SourceText:
            return used.setdefault((number, user_id), self._members.text(number, user_id))

        return _Known(plan, used, template_of(plan, text, facts.subject.user_id))

    def ssh_of(self, node_id: int) -> SSHPolicy | None:
        """The node's SSH rules; None when there are none."""
        facts = self._members.nodes.get(node_id)
        if facts is None or not self._workings.ssh_rules:
            return None
        if node_id not in self._answers.ssh:
            self._answers.ssh[node_id] = ssh.rules_for(
                self._workings.ssh_rules, facts, self._members, self.people, base_url=self._workings.base_url
            )
        return self._answers.ssh[node_id]

    def ssh_check(self, source_id: int, node_id: int, local_user: str) -> ssh.Checked | None:
        """The check that a session of this source as this local user needs at this node; None for none."""
        source, facts = self._members.nodes.get(source_id), self._members.nodes.get(node_id)
        if source is None or facts is None:
            return None
        return ssh.checked(
            self._workings.ssh_rules, facts, source, self._members, self.people, local_user=local_user
        )

    def caps_of(self, node_id: int) -> CapMap:
        """The attributes that the policy gives the node, for its own client."""
        facts = self._members.nodes.get(node_id)
        if facts is None:
            return {}
        return attributes.caps_of(self._workings.attributes, facts.subject, facts.kind.labels)

    def peer_caps_of(self, node_id: int) -> CapMap:
        """The attributes of the node that its peers are shown."""
        facts = self._members.nodes.get(node_id)
        return attributes.peer_caps_of(facts.subject) if facts else {}

    def hides_ipv4(self, node_id: int) -> bool:
        """Whether the node has no IPv4 address for itself and others (`disable-ipv4`)."""
        return bool(self._workings.attributes.entries) and attributes.DISABLE_IPV4 in self.caps_of(node_id)

    def pools_of(self, kind: Kind) -> tuple[Network, ...]:
        """Where the IPv4 address of a new node of this user, or with these tags, comes from; empty: anywhere."""
        return attributes.pools_of(self._workings.attributes, self._workings.facts.kind(kind).labels)

    def sees(self, viewer_id: int, peer_id: int) -> bool:
        """Whether the two are peers. Symmetric; False for a node and itself and for unknown ones."""
        viewer, peer = self._members.nodes.get(viewer_id), self._members.nodes.get(peer_id)
        if viewer is None or peer is None or viewer_id == peer_id:
            return False
        return self._workings.reach.sees(viewer.node_class, peer.node_class)

    def peers_of(self, viewer_id: int) -> frozenset[int]:
        """All nodes that this one sees, without itself."""
        return frozenset(self.seen_by_class(viewer_id)) - {viewer_id}

    def seen_by_class(self, viewer_id: int) -> tuple[int, ...]:
        """All nodes that the nodes of this one's class see, in no order; itself is there when they see each other."""
        facts = self._members.nodes.get(viewer_id)
        return self._seen_by(facts.node_class) if facts else ()

    def _seen_by(self, node_class: NodeClass) -> tuple[int, ...]:
        answers = self._answers
        if not answers.tables:
            members: dict[NodeClass, list[int]] = {}
            for node_id, facts in self._members.nodes.items():
                members.setdefault(facts.node_class, []).append(node_id)
            answers.tables.append(_Table(see_each_other(self._workings.reach, members), members))
        known = answers.peers.get(node_class)
        if known is None:
            table = answers.tables[0]
            known = tuple(
                chain.from_iterable(map(table.members.__getitem__, table.visible.seen_by(node_class)))
            )
            if sum(map(len, [*answers.peers.values()])) + len(known) <= _PEERS_KEPT:
                answers.peers[node_class] = known
        return known

    def class_of(self, node_id: int) -> object:
        """Two nodes with an equal class see the same nodes, each but itself, and may use the same routes."""
        facts = self._members.nodes.get(node_id)
        return facts.node_class if facts else None

    def routes_for(
        self,
        viewer_id: int,
        peer_id: int,
        primaries: Mapping[Network, int],
        favourites: Favourites = NO_FAVOURITES,
    ) -> tuple[Network, ...]:
        """The subnet and exit routes that the viewer may send through the peer.

        `primaries` names the elected router of each subnet route. A `via` grant steers its sources to a router with
        its tag: the primary if that has it, else the one of `favourites`, or the oldest without any. Then no other
        serves them, unless another rule opens the route to them as well (recordings via-grant-v42, via-grant-v45).
        """
        viewer, peer = self._members.nodes.get(viewer_id), self._members.nodes.get(peer_id)
        if viewer is None or peer is None or not self.sees(viewer_id, peer_id):
            return ()
        return tuple(
            route
            for route in peer.subject.routes
            if self._may_use(viewer, peer, route, primaries, favourites)
        )

    def _may_use(
        self,
        viewer: Facts,
        peer: Facts,
        route: Network,
        primaries: Mapping[Network, int],
        favourites: Favourites,
    ) -> bool:
        reach = self._workings.reach
        tags = reach.steered(viewer, route)
        opened = reach.may_use(viewer, route) or (route in viewer.subject.routes and route not in EXIT_ROUTES)
        if route in EXIT_ROUTES:
            return opened or not tags.isdisjoint(peer.subject.tags)
        primary = primaries.get(route)
        if opened:
            return primary == peer.subject.id
        return bool(tags) and self._steered_to(route, tags, primary, favourites) == peer.subject.id

    def _steered_to(
        self, route: Network, tags: frozenset[str], primary: int | None, favourites: Favourites
    ) -> int | None:
        serving = [
            node_id
            for node_id in self._members.routers.get(route, ())
            if not tags.isdisjoint(self._members.nodes[node_id].subject.tags)
        ]
        if primary in serving:
            return primary
        favoured = [favourite for tag in tags if (favourite := favourites.get((route, tag)))]
        return min(favoured)[-1] if favoured else min(serving, default=None)

    def approves(self, subject: Subject, route: Network) -> bool:
        """Whether `autoApprovers` approves this route for this node."""
        labels = self._workings.facts.kind(kind_of(subject)).labels
        return approvals.approves(self._workings.approvals, labels, route)

    def owns_tag(
        self,
        tag: str,
        *,
        person_id: int | None = None,
        node_id: int | None = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Whether `tagOwners` lets this user, the owner of this node, or these tags, give a node the tag."""
        labels = tuple(tags)
        if person_id is not None:
            labels += self._workings.facts.kind(person_id).labels
        if node_id is not None and (facts := self._members.nodes.get(node_id)):
            labels += facts.kind.labels
        return approvals.owns_tag(self._workings.approvals, labels, tag)

    def owners_of(self, tag: str) -> frozenset[str]:
        """The labels of users, and the tags, that `tagOwners` lets give a node the tag."""
        return approvals.owners_of(self._workings.approvals, tag)

    @property
    def via_tags(self) -> frozenset[str]:
        """The tags of the routers through which `via` grants steer."""
        return frozenset(self.program.via_rows)

    @property
    def tags(self) -> frozenset[str]:
        """The tags that `tagOwners` defines."""
        return frozenset(self.document.tag_owners) if self.document else frozenset()


def compile_policy(
    document: Document | None,
    *,
    people: Mapping[int, Person],
    subjects: Iterable[Subject],
    tailnet: IPSet = TAILNET,
    base_url: str = "",
) -> Compiled:
    """Work the policy out; None, no policy, lets everybody reach everything.

    `tailnet` is where nodes' addresses come from, and what `*` as a source stands for; `base_url` is where clients
    find this server, for SSH checks.
    """
    written = document or _OPEN
    named = frozenset(users_named(written))
    program = program_of(written, directory(people, written.groups, named), tailnet=tailnet)
    make = FactMaker(program)
    workings = _Workings(
        program,
        make,
        Reach(program),
        approvals.approvals_of(written),
        attributes.attributes_of(written),
        ssh.ssh_rules_of(written),
        named,
        base_url,
    )
    listed = ssh.labels_needed(workings.ssh_rules)
    return Compiled(document, people, workings, members_of(program, map(make.of, subjects), listed=listed))
