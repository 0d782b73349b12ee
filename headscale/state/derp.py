"""Another DERP map takes effect."""

from dataclasses import replace

from headscale.state.effect import Effect, Moment
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.derpmap import DERPMap


def set_derp_map(snapshot: Snapshot, moment: Moment, *, derp_map: DERPMap) -> Effect[bool]:
    """Clients are told of this map; the result is whether it is another one. Nothing is stored: its sources have it."""
    if derp_map == snapshot.derp_map:
        return Effect(snapshot, result=False)
    return Effect(replace(snapshot, derp_map=derp_map), result=True)
