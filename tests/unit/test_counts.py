"""Plain numbers, and how values spread."""

from headscale.counts import Distribution, WriterCounts


def test_a_value_falls_below_the_first_bound_that_is_not_smaller() -> None:
    """As Prometheus has it: a bucket's bound belongs to it."""
    values = Distribution((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        values.add(value)
    assert values.counts == [2, 2, 1]
    assert (values.number, values.total) == (5, 7.5)


def test_the_same_value_several_times_counts_so_often() -> None:
    values = Distribution((1.0,))
    values.add(0.5, 4)
    values.add(2.0)
    assert (values.counts, values.total) == ([4, 1], 4.0)


def test_a_quantile_is_the_bound_that_enough_values_are_below() -> None:
    values = Distribution((1.0, 2.0, 3.0))
    assert values.quantile(0.5) == 0.0
    for value in (0.1, 0.2, 1.5, 2.5, 9.0):
        values.add(value)
    assert [values.quantile(share) for share in (0.4, 0.5, 0.8, 0.99)] == [1.0, 2.0, 3.0, float("inf")]


def test_an_operation_is_counted_with_its_time() -> None:
    counts = WriterCounts()
    for seconds in (0.2, 0.3):
        counts.done("rename", seconds)
    assert counts.operations == {"rename": 2}
    assert counts.seconds["rename"].total == 0.5
