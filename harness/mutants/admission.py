"""Mistakes in who is let in, and for how long."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from harness.mutants.patches import Function, Mutant, Patch
from headscale.state.effect import Effect

KEYS = "scenarios/test_auth_keys.py"


def _unspent(original: Function) -> Function:
    def claim(snapshot: Any, key: Any, now: datetime) -> tuple[Any, tuple[Any, ...]]:
        return snapshot, ()

    return claim


def _without_end(original: Function) -> Function:
    def check_valid(key: Any, now: datetime, *, is_same_use: bool = False) -> None:
        original(replace(key, expiration=None), now, is_same_use=is_same_use)

    return check_valid


def _nobody(original: Function) -> Function:
    def step(snapshot: Any, moment: Any) -> Effect[Any]:
        return Effect(snapshot, ())

    return step


def _any_label(original: Function) -> Function:
    def unique_label(wanted: str, taken: Any) -> str:
        return wanted

    return unique_label


def _approved(original: Function) -> Function:
    def admit(snapshot: Any, moment: Any, request: Any, terms: Any, **more: Any) -> Any:
        return original(snapshot, moment, request, replace(terms, authorized=True), **more)

    return admit


def _lasting(original: Function) -> Function:
    def admit(snapshot: Any, moment: Any, request: Any, terms: Any, **more: Any) -> Any:
        return original(snapshot, moment, request, replace(terms, ephemeral=False), **more)

    return admit


def _any_tag(original: Function) -> Function:
    def check_defined(snapshot: Any, asked: Any) -> None:
        return None

    return check_defined


def _no_default_expiry(original: Function) -> Function:
    def expiry_of(snapshot: Any, moment: Any, request: Any, terms: Any) -> datetime | None:
        expiry: datetime | None = request.expiry
        return expiry

    return expiry_of


MUTANTS = (
    Mutant(
        "single-use-key-used-twice",
        "a key for one machine lets in another",
        [f"{KEYS}::test_a_single_use_key_lets_one_machine_in"],
        [Patch("headscale.state.credentials:claim", _unspent)],
    ),
    Mutant(
        "expired-key-accepted",
        "a pre-auth key goes on working after its end",
        [f"{KEYS}::test_an_expired_key_lets_nobody_in"],
        [Patch("headscale.state.credentials:check_valid", _without_end)],
    ),
    Mutant(
        "ephemeral-key-makes-lasting-nodes",
        "who joined with an ephemeral key stays when its machine logs out",
        [f"{KEYS}::test_an_ephemeral_key_makes_nodes_that_go_with_their_machine"],
        [Patch("headscale.state.admission:admit", _lasting)],
    ),
    Mutant(
        "ephemeral-node-stays",
        "an ephemeral node that vanished is never deleted",
        ["scenarios/test_ephemeral.py::test_an_ephemeral_node_that_stays_away_is_deleted"],
        [Patch("headscale.state.nodes:delete_idle_ephemeral", _nobody)],
    ),
    Mutant(
        "expiry-ignored",
        "a node key whose time has come goes on working",
        ["scenarios/test_expiry.py::test_an_ended_key_opens_nothing_whatever_its_client_thinks"],
        [Patch("headscale.state.nodes:expire_due", _nobody)],
    ),
    Mutant(
        "expiry-of-the-tailnet-ignored",
        "new nodes have keys without end although node.expiry says otherwise",
        ["scenarios/test_expiry.py::test_keys_live_as_long_as_the_tailnet_says"],
        [Patch("headscale.state.admission:expiry_of", _no_default_expiry)],
    ),
    Mutant(
        "names-not-unique",
        "a second machine of one name takes the name of the first",
        ["scenarios/test_names.py::test_two_machines_of_one_name_get_two_names"],
        [Patch("headscale.state.names:unique_label", _any_label)],
    ),
    Mutant(
        "approval-skipped",
        "a new device is in although an administrator was to be asked",
        ["scenarios/test_web_login.py::test_a_device_that_needs_approval_waits_and_is_let_in"],
        [Patch("headscale.state.admission:admit", _approved)],
    ),
    Mutant(
        "undefined-tag-asked-for",
        "a device that wants a tag which nobody may give is sent to log in",
        ["scenarios/test_web_login.py::test_a_tag_that_nobody_may_give_is_refused_at_once"],
        [Patch("headscale.state.tags:check_defined", _any_tag)],
    ),
)
