"""A seed is a scenario."""

from harness.differential.script import Expire, Join, Leave, Rename, SetPolicy, SetTags, name_of, script
from harness.policies import read


def test_the_same_seed_is_the_same_scenario_and_another_is_another() -> None:
    assert script(7) == script(7)
    assert len({str(script(seed)) for seed in range(10)}) == 10


def test_every_scenario_has_every_kind_of_act_and_policies_that_can_be_read() -> None:
    """Joins of users and tags with a route, policies, a rename, tags, an end of a key, a deletion."""
    for seed in range(20):
        steps = script(seed)
        assert {Join, SetPolicy, Rename, SetTags, Expire, Leave} <= {type(step) for step in steps}
        assert len({name_of(step) for step in steps}) >= len(steps) - 1  # a router is approved and taken back
        for step in steps:
            if isinstance(step, SetPolicy):
                read(step.text.replace("{web}", "80").replace("{db}", "81"))
