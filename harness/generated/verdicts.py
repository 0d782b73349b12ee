"""What a generated tailnet should do, what it did, and the difference for people."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from harness.expected import World, packet_for
from harness.generated.plans import Plan, questions, way_to
from harness.oracle import Packet, admits
from harness.reach import Probe, Target, table

Question = tuple[str, Target]
"""The name of who asks, and what for."""

PEERS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Named:
    """Who asks, in a table."""

    name: str


@dataclass(frozen=True, slots=True)
class Expected:
    """The oracle's word: which question is answered, and whom each node sees."""

    reach: Mapping[Question, bool]
    peers: Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured, beside what should have been."""

    plan: Plan
    expected: Expected
    seen: Mapping[Question, Probe]
    peers: Mapping[str, Collection[str]]
    dead: Collection[Question] = ()
    """Not reached when everything was open, so that their denial shows nothing."""
    remarks: Sequence[str] = ()
    """What else a reader should know: which node was which machine, whose filter was late."""

    @property
    def surprises(self) -> dict[Question, bool]:
        """Questions whose answer is another than it should be, and whether they were answered."""
        wrong = {}
        for question, want in self.expected.reach.items():
            probe = self.seen[question]
            if (probe.reached if want else not probe.answered) is False:
                wrong[question] = probe.answered
        return wrong

    @property
    def strangers(self) -> list[str]:
        """Sentences about nodes that see others than they should."""
        return [
            f"{name} sees {sorted(self.peers[name])}, and is to see {sorted(wanted)}"
            for name, wanted in self.expected.peers.items()
            if sorted(self.peers[name]) != sorted(wanted)
        ]

    @property
    def wrong(self) -> bool:
        """Whether anything is not as it should be."""
        return bool(self.surprises or self.strangers or self.dead)

    @property
    def only_silent(self) -> bool:
        """Wrong, but nothing passed that should not, and everybody sees whom they should."""
        return self.wrong and not self.strangers and not any(self.surprises.values())

    def told(self) -> str:
        """The outcome for people: a table with every target that surprised, and the plan."""
        lines = []
        if surprises := self.surprises:
            lines.append(f"{len(surprises)} of {len(self.expected.reach)} pairs are not as the policy says")
            wanted = {(Named(name), target): want for (name, target), want in self.expected.reach.items()}
            seen = {(Named(name), target): probe for (name, target), probe in self.seen.items()}
            lines.append(table(wanted, seen))
        lines += self.strangers[:PEERS_SHOWN]
        lines += [f"{name} does not reach {target} when everything is open" for name, target in self.dead]
        return "\n".join([*lines, *self.remarks, self.plan.told()])


def predict(plan: Plan, world: World, addresses: Mapping[str, Sequence[str]]) -> Expected:
    """The whole matrix and everybody's peers, by the oracle. `world` is of the nodes as they are."""
    nodes = {node.name: node for node in world.nodes}
    policy = dict(plan.policy)
    takes = {node.name: node.accepts_routes for node in plan.nodes}
    reach = {}
    for name, target in questions(plan, addresses):
        way = way_to(plan, target.address, addresses)
        goes = way is not None and (target.name == way.name or takes[name])
        packet = packet_of(name, target, addresses)
        reach[name, target] = (
            goes and way is not None and admits(policy, world.users, world.nodes, nodes[way.name], packet)
        )
    return Expected(reach, {node.name: world.peers_of(policy, node) for node in world.nodes})


def packet_of(name: str, target: Target, addresses: Mapping[str, Sequence[str]]) -> Packet:
    """The first packet that the node sends to the target, from its address of the same family."""
    dst = ip_address(target.address)
    own = [ip_address(address) for address in addresses[name]]
    src = next(address for address in own if address.version == dst.version)
    return packet_for(target.transport, src, dst, port=target.port)
