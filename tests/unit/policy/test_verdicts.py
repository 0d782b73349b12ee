"""Many sources asked at once are answered as each alone."""

from itertools import product

from headscale.policy.bits import bits_of
from headscale.policy.paths import Packet, admitting, node_end
from headscale.policy.verdicts import Verdicts, numbered
from tests.unit.policy.small import ANN, BOB, acl, device, engine, grant, tagged


def test_all_at_once_is_each_alone() -> None:
    """Whatever opens the way: labels, addresses, one's own devices, a protocol; and for a packet without a port."""
    rules = [
        acl("ann@", "tag:web:22,80-90"),
        acl("bob@", "tag:web:*", proto="udp"),
        acl("100.64.0.3", "100.64.0.1:85"),
        acl("*", "fd7a:115c:a1e0::4:443"),
        acl("autogroup:member", "autogroup:self:22"),
    ]
    compiled = engine(
        {"acls": rules, "grants": [grant("tag:web", "ann@", "icmp:*")]},
        device(1, ANN, six=True),
        device(2, ANN),
        device(3, BOB, six=True),
        tagged(4, "tag:web", six=True),
    )
    ends = [node_end(facts) for facts in compiled.all_nodes]
    sources, verdicts = numbered(compiled.program, ends), Verdicts(compiled.program)
    packets = [Packet(6, 22), Packet(17, 85), Packet(6, 443), Packet(1, None), Packet(132, 22)]
    for target, packet in product(ends, packets):
        alone = [at for at, end in enumerate(ends) if admitting(compiled.program, end, target, packet)]
        assert verdicts.open_to(sources, target, [packet]) == bits_of(alone, len(ends))
