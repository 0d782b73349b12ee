"""May each of many reach this: the questions of `paths`, asked at once for all sources of a test.

A policy may have as many tests as rules. So what a target hears and what carries a packet are bit sets of rows, and
the answer is a bit set of sources; each is worked out once.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from headscale.ipset import IPSet, of_spans
from headscale.policy.bits import bits_of, numbers_of
from headscale.policy.lookup import AddressLookup, address_lookup
from headscale.policy.paths import End, Packet, hearing, sent_by
from headscale.policy.ports import DEFAULT
from headscale.policy.program import Program

_FAMILIES: Final = (4, 6)
# What so few rows let in is not remembered.
_FEW: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """The ends that a name stands for, numbered; for each source set in each family which of them are in it."""

    ends: tuple[End, ...]
    senders: dict[tuple[int, int], int]

    @property
    def everyone(self) -> int:
        """All of them."""
        return (1 << len(self.ends)) - 1


def numbered(program: Program, ends: Iterable[End]) -> Ends:
    """These ends, with what they send."""
    listed = tuple(ends)
    senders: dict[tuple[int, int], int] = defaultdict(int)
    for at, end in enumerate(listed):
        for family in _FAMILIES:
            for source in sent_by(program, end, family):
                senders[family, source] |= 1 << at
    return Ends(listed, dict(senders))


@dataclass(slots=True)
class Verdicts:
    """Answers about one program; remembers what they were made of."""

    program: Program
    _ports: dict[int, AddressLookup] = field(default_factory=dict)
    _heard: dict[tuple[End, int], int] = field(default_factory=dict)
    _let: dict[tuple[Ends, int, int], int] = field(default_factory=dict)
    _own: int | None = None

    def open_to(self, sources: Ends, target: End, packets: Iterable[Packet]) -> int:
        """Which of the sources get any of these packets to the target, as bits."""
        carried = 0
        for packet in packets:
            carried |= self._carrying(packet)
        found = 0
        for family in target.families:
            found |= self._let_in(sources, family, carried & self._hearing(target, family))
            if target.user_id is not None and (own := carried & self._own_rows()):
                mine = (at for at, end in enumerate(sources.ends) if end.user_id == target.user_id)
                found |= self._let_in(sources, family, own) & bits_of(mine, len(sources.ends))
        return found

    def _let_in(self, sources: Ends, family: int, rows: int) -> int:
        """The sources that any of these rows is about."""
        if rows.bit_count() <= _FEW:
            return self._senders(sources, family, rows)
        key = (sources, family, rows)
        known = self._let.get(key)
        if known is None:
            known = self._let[key] = self._senders(sources, family, rows)
        return known

    def _senders(self, sources: Ends, family: int, rows: int) -> int:
        found = 0
        for row in numbers_of(rows):
            found |= sources.senders.get((family, self.program.rows[row].source), 0)
            if found == sources.everyone:
                break
        return found

    def _hearing(self, target: End, family: int) -> int:
        known = self._heard.get((target, family))
        if known is None:
            known = self._heard[target, family] = hearing(self.program, target, family)
        return known

    def _own_rows(self) -> int:
        if self._own is None:
            self._own = bits_of(self.program.own_rows, len(self.program.rows))
        return self._own

    def _carrying(self, packet: Packet) -> int:
        """The rows about this packet."""
        if packet.protocol not in self._ports:
            self._ports[packet.protocol] = self._ports_of(packet.protocol)
        ports, port = self._ports[packet.protocol], packet.port
        return ports.meeting(0, 1 << 16) if port is None else ports.containing(port)

    def _ports_of(self, protocol: int) -> AddressLookup:
        """The rows by the ports that they open for this protocol."""
        opened: list[tuple[int, IPSet]] = []
        for number, row in enumerate(self.program.rows):
            if row.traffic is not None and protocol in (
                DEFAULT if row.traffic.protocol is None else (row.traffic.protocol,)
            ):
                spans = ((ports.first, ports.last + 1) for ports in row.traffic.ports)
                opened.append((number, of_spans(spans)))
        return address_lookup(opened)
