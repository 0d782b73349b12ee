"""Small settings behave as h2's own do."""

import pytest
from h2.settings import SettingCodes, Settings
from hypothesis import given
from hypothesis import strategies as st

from headscale.ts2021.h2settings import SmallSettings

SAID = st.tuples(st.sampled_from([1, 2, 3, 4, 6, 8, 0x20]), st.integers(0, 1))
ACKNOWLEDGED = st.none()


@given(acts=st.lists(SAID | ACKNOWLEDGED, max_size=30), client=st.booleans())
def test_they_say_what_h2_says(acts: list[tuple[int, int] | None], client: bool) -> None:
    """Whatever is set and acknowledged, in whichever order, also of keys that are new."""
    initial = {SettingCodes.MAX_CONCURRENT_STREAMS: 100}
    ours, theirs = SmallSettings(client, initial), Settings(client, initial)
    for act in acts:
        if act is None:
            assert str(ours.acknowledge()) == str(theirs.acknowledge())
        else:
            ours[act[0]] = theirs[act[0]] = act[1]
        for key in {*ours, *theirs}:
            assert ours.get(key) == theirs.get(key)


def test_a_bad_value_is_refused() -> None:
    with pytest.raises(Exception, match="invalid"):
        SmallSettings()[SettingCodes.ENABLE_PUSH] = 7
