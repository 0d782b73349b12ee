"""The settings in force, and how they change while the server runs.

The operator's configuration comes first; where it is silent, administrators may choose.
"""

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any, Final

from headscale.config.dns import NO_NAMESERVER, is_nameserver
from headscale.config.keys import CHOOSABLE
from headscale.errors import Conflict, Malformed
from headscale.records import Choices, DNSSettings, Preferences, TailnetSettings, Update
from headscale.sources.extrarecords import domain_name
from headscale.state.effect import Effect, Moment
from headscale.state.preferences import let_waiting_in
from headscale.state.snapshot import Snapshot, with_people_again

# Of each list: every client is told of all of them.
ENTRIES_MAX: Final = 256
EXPIRY_DAYS_MAX: Final = 3650


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


def choose(snapshot: Snapshot, moment: Moment, *, choices: Choices) -> Effect[TailnetSettings]:
    """Administrators choose what is not None in this; the result is what is in force then.

    Raises Conflict, naming the key, where the operator's configuration decides; Malformed for values that are none.
    """
    chosen = {
        field.name: value for field in fields(Choices) if (value := getattr(choices, field.name)) is not None
    }
    decided = sorted({CHOOSABLE[name] for name in chosen} & snapshot.configured.written)
    if decided:
        raise Conflict(f"{', '.join(decided)} is set in the server's configuration: change it there")
    before = snapshot.preferences
    after = replace(before, choices=replace(before.choices, **_checked(chosen)))
    if after == before:
        return Effect(snapshot, snapshot.settings)
    decided_now = with_settings(replace(snapshot, preferences=after))
    return Effect(decided_now, decided_now.settings, (Update(after),))


def with_settings(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the settings that follow from its configuration and preferences.

    They stay the same object while they say the same: streams compare by identity.
    """
    settings = in_force(snapshot.configured, snapshot.preferences)
    return (
        snapshot if settings == snapshot.settings else with_people_again(replace(snapshot, settings=settings))
    )


def _checked(chosen: dict[str, Any]) -> dict[str, Any]:
    """The choices as they are kept; raises Malformed."""
    servers = [
        *chosen.get("nameservers", ()),
        *(s for each in chosen.get("split", {}).values() for s in each),
    ]
    for server in servers:
        if not is_nameserver(server):
            raise Malformed(f"{server[:200]!r} {NO_NAMESERVER}")
    if "split" in chosen:
        chosen["split"] = {_domain(name): tuple(each) for name, each in chosen["split"].items()}
    if "search_domains" in chosen:
        chosen["search_domains"] = tuple(map(_domain, chosen["search_domains"]))
    if not 0 <= chosen.get("node_expiry_days", 0) <= EXPIRY_DAYS_MAX:
        raise Malformed(f"keys may live 1 to {EXPIRY_DAYS_MAX} days, or 0 for ever")
    for name, value in chosen.items():
        if isinstance(value, tuple | dict) and len(value) > ENTRIES_MAX:
            raise Malformed(f"{CHOOSABLE[name]}: at most {ENTRIES_MAX} entries")
    return chosen


def _domain(text: str) -> str:
    name = domain_name(text)
    if name is None:
        raise Malformed(f"{text[:200]!r} is not a domain name")
    return name


def _dns(configured: DNSSettings, chosen: dict[str, Any], *, is_override_written: bool) -> DNSSettings:
    dns = replace(configured, **{name: value for name, value in chosen.items() if name != "split"})
    if "split" in chosen:
        dns = replace(dns, split=dict(chosen["split"]))
    if not is_override_written and "override_local_dns" not in chosen:
        dns = replace(dns, override_local_dns=bool(dns.nameservers))
    return replace(dns, override_local_dns=dns.override_local_dns and bool(dns.nameservers))
