"""A mistake is in the server exactly as long as it is to be, wherever the function was imported."""

import pytest

from harness.mutants.patches import DoesNotApply, Mutant, Patch, applied
from headscale.errors import Malformed
from headscale.mapper import build, diff, view
from headscale.state import names
from headscale.state.scopes import Grant


def mutant(*patches: Patch) -> Mutant:
    return Mutant("m", "a mistake", [], patches)


def test_it_is_replaced_for_all_who_imported_it_and_put_back() -> None:
    """Under the name by which each knows it."""
    original = view.packet_filter
    patch = Patch("headscale.mapper.view:packet_filter", lambda _: lambda *args: ("mutated",))
    with applied(mutant(patch)) as record:
        assert view.packet_filter is build.packet_filter is diff.packet_filter
        assert build.packet_filter(None, 1) == ("mutated",)  # type: ignore[arg-type]
    assert view.packet_filter is build.packet_filter is diff.packet_filter is original
    assert (record.calls, record.problems) == (1, [])


def test_a_method_is_replaced_in_its_class() -> None:
    original = Grant.may_hand_on
    with applied(
        mutant(Patch("headscale.state.scopes:Grant.may_hand_on", lambda _: lambda self, scope: True))
    ):
        assert Grant(frozenset()).may_hand_on("all")
    assert Grant.may_hand_on is original
    assert not Grant(frozenset()).may_hand_on("all")


@pytest.mark.parametrize(
    "where",
    [
        "headscale.mapper.nothing:x",
        "headscale.mapper.view:nothing",
        "headscale.state.scopes:Grant.nothing",
        "headscale.state.scopes:Nobody.allows",
        "headscale.mapper.view:FEW",
    ],
)
def test_a_function_that_is_gone_is_an_error_that_names_it(where: str) -> None:
    with (
        pytest.raises(DoesNotApply, match=f"the mutant m does not apply: .*{where}"),
        applied(mutant(Patch(where, lambda original: original))),
    ):
        pass


def test_only_what_the_server_never_raises_is_the_mutants_own_fault() -> None:
    """A refusal of the server is the server's; a TypeError is the mutant's."""

    def refuses(name: str) -> str:
        raise Malformed("no")

    with applied(mutant(Patch("headscale.state.names:check_label", lambda _: refuses))) as record:
        with pytest.raises(Malformed):
            names.check_label("x")
    assert record.problems == []
    with applied(mutant(Patch("headscale.state.names:check_label", lambda _: lambda: ""))) as record:
        with pytest.raises(TypeError):
            names.check_label("x")
    assert len(record.problems) == 1
