"""`python -m benchmarks.load`: put load on a control server and print what people would feel."""

import argparse
import asyncio
import os
import signal
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.load import processes
from benchmarks.load.figures import Case, Report, as_json, ratios, reference_ms, report_from, table
from benchmarks.load.fleet import WorkerFailed, workers
from benchmarks.load.layout import layout_of
from benchmarks.load.phases import Run, measure
from benchmarks.load.servers import OUR_KIND, Kind, kind_of, running
from harness.servers.base import AdminRefused

MAX_NODES: Final = 2_000
# Two ends of each connection may be in one process's count, and a server has files of its own.
FILES_A_NODE: Final = 2
SPARE_FILES: Final = 256


async def measured(kind: Kind, nodes: int, *, with_policy: bool, options: argparse.Namespace) -> Case:
    """One tailnet from nothing to the last figure; what breaks on the way is said among the troubles."""
    figures: dict[str, float | None] = {}
    troubles: list[str] = []
    try:
        async with asyncio.timeout(options.limit), running(kind) as server:
            async with workers(options.workers) as fleet:
                layout = layout_of(nodes, with_policy=with_policy)
                run = Run(server, fleet, layout, options.within, options.rounds, figures, troubles)
                await measure(run)
    except TimeoutError:
        troubles.append(f"not done within {options.limit:.0f} s")
    except (WorkerFailed, AdminRefused, RuntimeError, OSError) as problem:
        troubles.append(f"{type(problem).__name__}: {problem}")
    return Case(nodes, with_policy, figures, troubles)


async def run(options: argparse.Namespace) -> Report:
    """Every tailnet that was asked for, one after the other."""
    kind = OUR_KIND
    if options.server_command:
        kind = kind_of(
            options.server_command, template=options.config_template, admin_command=options.admin_command
        )
    speeds = [reference_ms()]  # between the tailnets, too: a shared machine is not always as fast
    cases = []
    for nodes in options.nodes:
        for with_policy in {"both": (False, True), "with": (True,), "without": (False,)}[options.policy]:
            case = await measured(kind, nodes, with_policy=with_policy, options=options)
            cases.append(case)
            speeds.append(reference_ms())
            for trouble in case.troubles:
                sys.stderr.write(f"{case.title}: {trouble}\n")
    return Report(kind.name, statistics.median(speeds), options.workers, cases)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; ends the program when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument(
        "--nodes", type=_sizes, default=[50, 200, 500], help="sizes, such as 50,200 (to 2000)"
    )
    parser.add_argument("--policy", choices=("both", "with", "without"), default="both")
    parser.add_argument("--rounds", type=int, default=3, help="of what can be repeated; medians are printed")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--within", type=float, default=60.0, help="seconds that one wait may take")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds that one tailnet may take")
    parser.add_argument("--server-command", default="", help="another server: its command, with {config}")
    parser.add_argument("--config-template", type=Path, help="its configuration, with {port} and {data}")
    parser.add_argument("--admin-command", default="", help="its `headscale` command line, if another")
    parser.add_argument("--against", type=Path, help="a report (--json) to print ratios to")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report here, too")
    return parser.parse_args(arguments)


def _sizes(text: str) -> list[int]:
    sizes = [int(word) for word in text.split(",")]
    if not all(2 <= size <= MAX_NODES for size in sizes):
        raise argparse.ArgumentTypeError(f"sizes are 2 to {MAX_NODES}")
    return sizes


async def _until_stopped(options: argparse.Namespace) -> Report:
    """As `run`; SIGTERM ends it as Ctrl-C does, children and all."""
    task = asyncio.ensure_future(run(options))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def printed(report: Report, other: Report | None) -> str:
    """What people read."""
    workers = f"{report.workers} worker{'s' if report.workers != 1 else ''}"
    text = f"{report.server}; {workers}; this machine's reference: {report.reference_ms:.1f} ms\n{table(report)}\n"
    if other is not None:
        text += f"\nratios to {other.server} (reference {other.reference_ms:.1f} ms), the machines' speeds taken out\n"
        text += f"{ratios(report, other)}\n"
    return text


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 1 when something was not reached."""
    options = parsed(arguments)
    processes.open_files(max(options.nodes) * FILES_A_NODE + SPARE_FILES)
    other = report_from(options.against.read_text()) if options.against else None
    try:
        report = asyncio.run(_until_stopped(options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    sys.stdout.write(printed(report, other))
    if options.json:
        options.json.write_text(as_json(report) + "\n")
    return 1 if any(case.troubles for case in report.cases) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
