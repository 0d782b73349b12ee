"""An operator's program that publishes records."""

import asyncio
import sys
from pathlib import Path

import pytest

from headscale.certificates.command import OUTPUT_MAX_BYTES, CommandNameserver
from headscale.certificates.publisher import PublishFailed
from headscale.config.settings import DNSCommand

BUDGET_S = 10.0


def program(tmp_path: Path, body: str) -> CommandNameserver:
    script = tmp_path / "hook.py"
    script.write_text(f"import os, sys, time, subprocess\nfolder = {str(tmp_path)!r}\n{body}\n")
    return CommandNameserver(DNSCommand(command=(sys.executable, str(script), "--zone", "a b")))


async def test_it_is_told_what_to_do_without_a_shell(tmp_path: Path) -> None:
    hook = program(tmp_path, "open(folder + '/said', 'a').write(repr(sys.argv[1:]) + '\\n')")
    await hook.add("n", "-v;$(x)")
    await hook.remove("n", "-v;$(x)")
    lines = (tmp_path / "said").read_text().splitlines()
    assert lines == [str(["--zone", "a b", action, "n", "-v;$(x)"]) for action in ("add", "remove")]


async def test_it_does_not_see_our_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSCALE_DNS_CERTIFICATES_RFC2136_TSIG_SECRET", "x")
    hook = program(tmp_path, "sys.exit(any(name.startswith('HEADSCALE_') for name in os.environ))")
    await hook.add("n", "v")


async def test_a_failure_tells_what_it_said_without_the_value(tmp_path: Path) -> None:
    hook = program(tmp_path, "print('no zone for', sys.argv[-1], 'x' * 100000, file=sys.stderr); sys.exit(3)")
    with pytest.raises(PublishFailed, match="add ended with 3: no zone for VALUE x") as failed:
        await hook.add("n", "the-value")
    assert len(str(failed.value)) < OUTPUT_MAX_BYTES + 200


async def test_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    hook = CommandNameserver(DNSCommand(command=(str(tmp_path / "gone"),)))
    with pytest.raises(PublishFailed, match="gone cannot be run: No such file"):
        await hook.add("n", "v")


async def test_one_that_hangs_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """Its caller gives up; nothing of it goes on."""
    hook = program(
        tmp_path,
        "child = subprocess.Popen(['sleep', '60'])\n"
        "open(folder + '/new', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "os.rename(folder + '/new', folder + '/pids')\n"
        "time.sleep(60)",
    )
    task = asyncio.create_task(hook.add("n", "v"))
    async with asyncio.timeout(BUDGET_S):
        while not (tmp_path / "pids").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for pid in map(int, (tmp_path / "pids").read_text().split()):
            while is_running(pid):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether the process goes on: one that is only waited for (Z) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
