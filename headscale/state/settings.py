"""The settings in force, and how they change while the server runs.

The operator's configuration comes first; where it is silent, administrators may choose.
"""

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

from headscale.configkeys import CHOOSABLE
from headscale.errors import Conflict
from headscale.records import Choices, DNSSettings, Preferences, TailnetSettings, Update
from headscale.state.effect import Effect, Moment
from headscale.state.preferences import let_waiting_in
from headscale.state.snapshot import Snapshot


def in_force(configured: TailnetSettings, preferences: Preferences) -> TailnetSettings:
    """The configuration, with what administrators chose where it is silent."""
    chosen = {
        field.name: value
        for field in fields(Choices)
        if (value := getattr(preferences.choices, field.name)) is not None
        and CHOOSABLE[field.name] not in configured.written
    }
    changed: dict[str, Any] = {}
    if "auto_update" in chosen:
        changed["auto_update"] = chosen.pop("auto_update")
    if "node_expiry_days" in chosen:
        changed["node_expiry"] = timedelta(days=chosen.pop("node_expiry_days")) or None
    dns = _dns(
        configured.dns, chosen, is_override_written=CHOOSABLE["override_local_dns"] in configured.written
    )
    return replace(configured, dns=dns, **changed)


def configure(snapshot: Snapshot, moment: Moment, *, configured: TailnetSettings) -> Effect[bool]:
    """The operator's configuration was read again; the result is whether anything is different now.

    Nothing is stored: the file has it. The server's URL and the address ranges stay as they are until a restart.
    """
    configured = replace(
        configured,
        server_url=snapshot.configured.server_url,
        prefix_v4=snapshot.configured.prefix_v4,
        prefix_v6=snapshot.configured.prefix_v6,
        allocation=snapshot.configured.allocation,
    )
    if configured == snapshot.configured:
        return Effect(snapshot, result=False)
    after = with_settings(replace(snapshot, configured=configured))
    let_in = let_waiting_in(after, moment)
    return Effect(let_in.snapshot, True, let_in.writes, let_in.touched)


def choose(snapshot: Snapshot, moment: Moment, **choices: Any) -> Effect[TailnetSettings]:
    """Administrators choose these (see `Choices`); the result is what is in force then.

    Raises Conflict, naming the key, where the operator's configuration decides.
    """
    decided = sorted({CHOOSABLE[name] for name in choices} & snapshot.configured.written)
    if decided:
        raise Conflict(f"{', '.join(decided)} is set in the server's configuration: change it there")
    before = snapshot.preferences
    after = replace(before, choices=replace(before.choices, **choices))
    if after == before:
        return Effect(snapshot, snapshot.settings)
    chosen = with_settings(replace(snapshot, preferences=after))
    return Effect(chosen, chosen.settings, (Update(after),))


def with_settings(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the settings that follow from its configuration and preferences.

    They stay the same object while they say the same: streams compare by identity.
    """
    settings = in_force(snapshot.configured, snapshot.preferences)
    return snapshot if settings == snapshot.settings else replace(snapshot, settings=settings)


def _dns(configured: DNSSettings, chosen: dict[str, Any], *, is_override_written: bool) -> DNSSettings:
    dns = replace(configured, **{name: value for name, value in chosen.items() if name != "split"})
    if "split" in chosen:
        dns = replace(dns, split=dict(chosen["split"]))
    if not is_override_written and "override_local_dns" not in chosen:
        dns = replace(dns, override_local_dns=bool(dns.nameservers))
    return replace(dns, override_local_dns=dns.override_local_dns and bool(dns.nameservers))
