"""What the policy engine costs: to read and compile, for a node to join, to answer, and in memory.

Method: pytest-benchmark, one core, CPU time; the tailnets of `tailnets.py` at 100, 1,000 and 10,000 nodes. Figures
are put in relation to nodes plus rules (`us_per_unit`), which a linear cost leaves the same at each size.
"""

import subprocess
import sys
import time
from itertools import count

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.tailnets import Case, case_of, subject
from headscale.cli.serve import tune_collector
from headscale.policy.compiled import Compiled, compile_policy
from headscale.policy.parse import parse_policy

SIZES = (100, 1_000, 10_000)

pytestmark = pytest.mark.benchmark(timer=time.process_time, min_rounds=3)


@pytest.fixture(scope="module", params=SIZES)
def case(request: pytest.FixtureRequest) -> Case:
    """A tailnet of each size."""
    return case_of(request.param)


def compiled(case: Case) -> Compiled:
    """The case's policy, read and compiled."""
    return compile_policy(parse_policy(case.text), people=case.people, subjects=case.subjects)


def per_unit(benchmark: BenchmarkFixture, units: int) -> None:
    """Say what it cost in relation to what there was to do."""
    assert benchmark.stats is not None
    benchmark.extra_info["us_per_unit"] = round(benchmark.stats.stats.median / units * 1e6, 1)


def test_compile(benchmark: BenchmarkFixture, case: Case) -> None:
    """Text to a compiled policy, from nothing."""
    benchmark.pedantic(compiled, args=(case,), rounds=5, warmup_rounds=1)
    per_unit(benchmark, case.size)


def test_join(benchmark: BenchmarkFixture, case: Case) -> None:
    """One node joins a tailnet whose nodes all have their filters: whom it sees and its own filter are known."""
    engine = compiled(case)
    for node in case.subjects:
        engine.filter_key(node.id)
    numbers = count(len(case.subjects) + 1)

    def join() -> None:
        nonlocal engine
        number = next(numbers)
        engine = engine.updated([subject(number, user_id=number % len(case.people) + 1)])
        engine.filter_key(number)
        engine.sees(number, 1)

    tune_collector()  # as the server does when it has started
    benchmark.pedantic(join, rounds=100, warmup_rounds=5)


def test_neighbours_of_a_join(benchmark: BenchmarkFixture, case: Case) -> None:
    """One node joins, and 100 others are asked whether their filters changed by that."""
    engine = compiled(case)
    numbers = count(len(case.subjects) + 1)

    def join() -> None:
        nonlocal engine
        number = next(numbers)
        after = engine.updated([subject(number, user_id=number % len(case.people) + 1)])
        for neighbour in case.subjects[:100]:
            after.keeps_filter(neighbour.id, engine)
        engine = after

    tune_collector()
    benchmark.pedantic(join, rounds=20, warmup_rounds=2)


def test_every_filter(benchmark: BenchmarkFixture, case: Case) -> None:
    """Every node's filter is written out, as after a policy was set: what it costs a node."""

    def fresh() -> tuple[tuple[Compiled], dict[str, Compiled]]:
        return (compiled(case),), {}

    def ask(engine: Compiled) -> None:
        for node in case.subjects:
            engine.filter_of(node.id)

    benchmark.pedantic(ask, setup=fresh, rounds=3)
    per_unit(benchmark, len(case.subjects))


def test_who_sees_whom(benchmark: BenchmarkFixture, case: Case) -> None:
    """Whom each class of nodes sees, worked out anew."""

    def fresh() -> tuple[tuple[Compiled], dict[str, Compiled]]:
        return (compiled(case),), {}

    def ask(engine: Compiled) -> int:
        asked = {engine.class_of(node.id): node.id for node in case.subjects}
        return sum(len(engine.peers_of(node_id)) for node_id in asked.values())

    benchmark.pedantic(ask, setup=fresh, rounds=3)
    per_unit(benchmark, case.size)


MEASURE = """
from pathlib import Path
from benchmarks.tailnets import case_of
from headscale.policy.compiled import compile_policy
from headscale.policy.parse import parse_policy


def peak_kib():
    # Not getrusage, which remembers what the parent had before this program was loaded.
    return Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]


case = case_of({nodes})
before = peak_kib()
engine = compile_policy(parse_policy(case.text), people=case.people, subjects=case.subjects)
compiled = peak_kib()
for node in case.subjects:
    engine.filter_key(node.id)
    engine.peers_of(node.id)
print(before, compiled, peak_kib())
"""


def test_memory(benchmark: BenchmarkFixture, case: Case) -> None:
    """Peak resident memory of a process that compiles the policy and has answered for every node (`mib`)."""

    def measure() -> list[int]:
        code = MEASURE.format(nodes=len(case.subjects))
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
        return [int(word) for word in said.stdout.split()]

    for name, kib in zip(
        ("before", "compiled", "answered"), benchmark.pedantic(measure, rounds=1), strict=True
    ):
        benchmark.extra_info[f"mib_{name}"] = kib // 1024
