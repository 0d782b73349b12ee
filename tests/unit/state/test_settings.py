"""The settings in force: the operator's first, then what administrators chose."""

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest

from headscale.config.keys import CHOOSABLE, KEYS
from headscale.errors import Conflict, Malformed
from headscale.records import Choices, DNSSettings, TailnetSettings, Update
from headscale.state.settings import choose, configure, in_force
from headscale.state.snapshot import Snapshot
from tests.builders import SETTINGS, moment, node, tailnet, with_approval, with_nodes

RESOLVER = "192.0.2.53"


def silent(**dns: Any) -> Snapshot:
    """A tailnet whose operator wrote nothing that administrators may choose."""
    return tailnet("alice", settings=replace(SETTINGS, dns=DNSSettings(base_domain="net.example", **dns)))


def test_every_choice_has_its_key() -> None:
    assert {field.name for field in fields(Choices)} == CHOOSABLE.keys()
    assert set(CHOOSABLE.values()) <= KEYS.keys()


CHOICES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "resolvers, which are asked instead of the device's own": (
        {"nameservers": (RESOLVER,)},
        {"nameservers": (RESOLVER,), "override_local_dns": True},
        {},
    ),
    "resolvers beside the device's own": (
        {"nameservers": (RESOLVER,), "override_local_dns": False},
        {"nameservers": (RESOLVER,), "override_local_dns": False},
        {},
    ),
    "nothing to ask instead": ({"override_local_dns": True}, {"override_local_dns": False}, {}),
    "split": ({"split": {"corp": (RESOLVER,)}}, {"split": {"corp": (RESOLVER,)}}, {}),
    "search": ({"search_domains": ("corp",)}, {"search_domains": ("corp",)}, {}),
    "no MagicDNS": ({"magic_dns": False}, {"magic_dns": False}, {}),
    "keys that end": ({"node_expiry_days": 90}, {}, {"node_expiry": timedelta(days=90)}),
    "keys that never end": ({"node_expiry_days": 0}, {}, {"node_expiry": None}),
    "updates": ({"auto_update": True}, {}, {"auto_update": True}),
}


@pytest.mark.parametrize(("choices", "dns", "others"), CHOICES.values(), ids=CHOICES.keys())
def test_what_is_chosen_is_in_force(
    choices: dict[str, Any], dns: dict[str, Any], others: dict[str, Any]
) -> None:
    snapshot = silent()
    effect = choose(snapshot, moment(), choices=Choices(**choices))
    settings = effect.snapshot.settings
    assert settings == replace(snapshot.settings, dns=replace(snapshot.settings.dns, **dns), **others)
    assert effect.writes == (Update(effect.snapshot.preferences),)
    assert in_force(snapshot.configured, effect.snapshot.preferences) == settings  # after a restart


@pytest.mark.parametrize("name", CHOOSABLE)
def test_what_the_operator_wrote_cannot_be_chosen(name: str) -> None:
    written = replace(SETTINGS, written=frozenset({CHOOSABLE[name]}))
    with pytest.raises(Conflict, match=CHOOSABLE[name]):
        choose(tailnet(settings=written), moment(), choices=Choices(**{name: CHOICE_OF[name]}))


CHOICE_OF = {name: value for choices, _, _ in CHOICES.values() for name, value in choices.items()}


@pytest.mark.parametrize("name", CHOOSABLE)
def test_what_the_operator_writes_later_wins_and_leaves_the_choice_for_later(name: str) -> None:
    chosen = choose(
        silent(), moment(), choices=Choices(**{"nameservers": (RESOLVER,), name: CHOICE_OF[name]})
    ).snapshot
    written = replace(chosen.configured, written=frozenset(CHOOSABLE.values()))
    decided = configure(chosen, moment(), configured=written).snapshot
    assert decided.settings == written
    silent_again = replace(written, written=frozenset())
    assert configure(decided, moment(), configured=silent_again).snapshot.settings == chosen.settings


def test_the_same_again_is_no_change() -> None:
    snapshot = choose(silent(), moment(), choices=Choices(magic_dns=False)).snapshot
    assert choose(snapshot, moment(), choices=Choices(magic_dns=False)).snapshot is snapshot
    effect = configure(snapshot, moment(), configured=snapshot.configured)
    assert (effect.snapshot is snapshot, effect.result) == (True, False)


def test_what_is_fixed_at_the_start_stays() -> None:
    snapshot = silent()
    other = TailnetSettings(server_url="http://other", prefix_v4=None, taildrop=False)
    after = configure(snapshot, moment(), configured=other).snapshot.settings
    assert after == replace(other, server_url=SETTINGS.server_url, prefix_v4=SETTINGS.prefix_v4)


def test_nobody_waits_for_an_approval_that_is_no_longer_asked_for() -> None:
    snapshot = with_nodes(with_approval(silent()), node(1, authorized=False))
    effect = configure(snapshot, moment(), configured=replace(snapshot.configured, device_approval=False))
    assert effect.snapshot.nodes[1].authorized
    assert effect.touched == {1}
    assert effect.writes == (Update(effect.snapshot.nodes[1]),)


@pytest.mark.parametrize(
    ("choices", "why"),
    [
        (Choices(nameservers=("dns.example",)), "'dns.example' is neither an IP address"),
        (Choices(nameservers=("http://192.0.2.1",)), "nor an https:// URL"),
        (Choices(split={"corp": ("x",)}), "'x' is neither"),
        (Choices(split={"-": ()}), "'-' is not a domain name"),
        (Choices(search_domains=("a b",)), "'a b' is not a domain name"),
        (Choices(node_expiry_days=-1), "1 to 3650 days"),
        (Choices(node_expiry_days=4000), "1 to 3650 days"),
        (Choices(nameservers=(RESOLVER,) * 257), "dns.nameservers.global: at most 256"),
    ],
)
def test_what_is_no_value_is_named(choices: Choices, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        choose(silent(), moment(), choices=choices)
