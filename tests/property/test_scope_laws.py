"""Laws of scopes and grants: nothing is ever worth more than what it was made from."""

from hypothesis import given
from hypothesis import strategies as st

from headscale.state.scopes import KNOWN, Grant, allows, read

SCOPES = st.sampled_from(sorted(KNOWN)) | st.sampled_from(["made:up", "made:up:read", "devices", ""])
HELD = st.frozensets(SCOPES, max_size=6)


@given(held=HELD, more=HELD, needed=SCOPES)
def test_more_scopes_never_allow_less(held: frozenset[str], more: frozenset[str], needed: str) -> None:
    assert not allows(held, needed) or allows(held | more, needed)


@given(held=HELD, through=SCOPES, needed=SCOPES)
def test_what_is_handed_on_allows_nothing_new(held: frozenset[str], through: str, needed: str) -> None:
    """However often: who may hand a scope on could do itself all that it allows."""
    if allows(held, through) and allows({through}, needed):
        assert allows(held, needed)


@given(held=HELD, needed=SCOPES)
def test_several_scopes_allow_what_one_of_them_does(held: frozenset[str], needed: str) -> None:
    assert allows(held, needed) == any(allows({scope}, needed) for scope in held)


@given(scope=SCOPES)
def test_a_scope_allows_itself_and_its_reading(scope: str) -> None:
    assert allows({scope}, scope)
    assert allows({scope}, read(scope))


@given(scope=st.sampled_from(sorted(KNOWN)))
def test_reading_never_allows_a_change(scope: str) -> None:
    changes = {each for each in KNOWN if not each.endswith(":read")}
    if scope.endswith(":read"):
        assert not any(allows({scope}, change) for change in changes)


@given(held=HELD, tags=st.frozensets(st.sampled_from(["tag:a", "tag:b"])))
def test_only_who_has_every_tag_hands_everything_on(held: frozenset[str], tags: frozenset[str]) -> None:
    assert not Grant(held, tags).may_hand_on("all")
    assert Grant(held, tags, any_tag=True).may_hand_on("all") == ("all" in held)
