"""What the largest policies cost until they can be put in force: to read, compile and test 10 MiB.

Method: one round, one core, CPU time, the collector as the server has it; the shapes of `shapes.py`. The bar is ten
seconds: `nox -s bench -- -k shapes`.
"""

import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.shapes import PEOPLE, SHAPES, nodes, text_of
from headscale.cli.serve import tune_collector
from headscale.policy.checks import run_tests
from headscale.policy.compiled import compile_policy
from headscale.policy.complaints import PolicyRefused
from headscale.policy.parse import parse_policy

pytestmark = pytest.mark.benchmark(timer=time.process_time)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(benchmark: BenchmarkFixture, name: str) -> None:
    """As when a policy is set, or refused."""
    text, subjects = text_of(name), nodes()

    def answer() -> None:
        try:
            run_tests(compile_policy(parse_policy(text), people=PEOPLE, subjects=subjects))
        except PolicyRefused as refused:
            benchmark.extra_info["refused"] = str(refused.complaints[0])

    tune_collector()
    benchmark.pedantic(answer, rounds=1)
