"""Other extra DNS records take effect."""

from dataclasses import replace

from headscale.state.effect import Effect, Moment
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.dns import DNSRecord


def set_extra_records(snapshot: Snapshot, moment: Moment, *, records: tuple[DNSRecord, ...]) -> Effect[bool]:
    """Clients answer these; the result is whether they are others than before. Nothing is stored: the file has them."""
    if records == snapshot.extra_records:
        return Effect(snapshot, result=False)
    return Effect(replace(snapshot, extra_records=records), result=True)
