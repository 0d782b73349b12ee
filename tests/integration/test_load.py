"""The load generator at its smallest: it measures, it can drive another server, and it leaves nothing behind."""

import asyncio
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from benchmarks.load.figures import ROWS, Report, report_from

# The relay's ports are ours; the rest is what any server of this kind is told.
CONFIG = """\
server_url: http://127.0.0.1:{port}
listen_addr: 127.0.0.1:{port}
data_dir: {data}
unix_socket: {data}/headscale.sock
derp: {server: {tls_listen_addr: "127.0.0.1:{relay_port}", stun_listen_addr: "127.0.0.1:{stun_port}"}}
"""


async def load(*options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load", "--nodes", "5", "--rounds", "1", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def measured(report: Path, *options: str) -> Report:
    process = await load("--json", str(report), *options)
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return report_from(report.read_text())


async def test_every_figure_is_taken(tmp_path: Path) -> None:
    """Five clients under a policy give all figures, and nothing is out of its bound."""
    report = await measured(tmp_path / "report.json", "--policy", "with")
    (case,) = report.cases
    assert case.figures.keys() == {row.key for row in ROWS}
    assert None not in case.figures.values()


async def test_another_server_is_driven_by_its_commands(tmp_path: Path) -> None:
    """A server that is given as a command, with a template and the command line, is measured like ours."""
    (tmp_path / "template.yaml").write_text(CONFIG)
    report = await measured(
        tmp_path / "report.json",
        *("--policy", "without", "--config-template", str(tmp_path / "template.yaml")),
        *("--server-command", f"{sys.executable} -m headscale.cli.main serve -c {{config}}"),
    )
    (case,) = report.cases
    assert None not in case.figures.values()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_children_end_with_the_driver(tmp_path: Path, number: signal.Signals) -> None:
    """However the driver ends, its server and workers do not outlive it."""
    process = await load("--policy", "without")
    pids: list[str] = []

    def has_both() -> bool:
        pids[:] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return len(pids) == 2

    await until(has_both)
    process.send_signal(number)
    await process.communicate()
    await until(lambda: not any(map(_runs, pids)))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        for _ in count():
            if holds():
                return
            await asyncio.sleep(0.05)


def _runs(pid: str) -> bool:
    try:
        said = Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "benchmarks.load" in said or "headscale" in said
