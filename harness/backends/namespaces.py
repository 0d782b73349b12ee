"""Network namespaces by iproute2: made, wired up, left for dead by runs that crashed, and swept.

Names of runs tell a later run what is still in use (`harness.runs`). Needs root.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError, Missing
from harness.runs import is_dead, run_name

NAMED = Path("/run/netns")
"""Where iproute2 keeps namespaces by name."""

NEEDED = ("ip", "unshare", "iptables", "ip6tables")

COMMAND_SECONDS = 20.0

OVERLAY = """
mount -t tmpfs harness /run
mkdir /run/upper /run/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work harness /etc
"""
"""Fails where machines could not have an `/etc` of their own."""


def check_usable() -> None:
    """Raise Missing, with what would change that, unless namespaces can be made here. Blocks shortly."""
    if os.geteuid() != 0:
        raise Missing("network namespaces need root")
    if lacking := [name for name in NEEDED if shutil.which(name) is None]:
        raise Missing(f"{', '.join(lacking)} not found; install iproute2, iptables and util-linux")
    if not Path("/dev/net/tun").exists():
        raise Missing("there is no /dev/net/tun: load the kernel module tun")
    probe = f"{run_name()}.probe"
    try:
        _run(["ip", "netns", "add", probe])
        _run(["ip", "netns", "del", probe])
        _run(["unshare", "--mount", "--pid", "--uts", "--fork", "sh", "-ec", OVERLAY])
    except HarnessError as error:
        raise Missing(f"network namespaces, or overlays, cannot be made here: {error}") from error


def sweep() -> list[str]:
    """Remove the namespaces and folders of runs that have ended, and return their names. Blocks.

    The programs in them ended with their run: an agent ends when its standard input does.
    """
    swept = []
    for path in sorted(NAMED.glob("hsh-*")) if NAMED.is_dir() else ():
        if is_dead(path.name):
            subprocess.run(["ip", "netns", "del", path.name], capture_output=True, check=False)
            swept.append(path.name)
    for folder in Path(tempfile.gettempdir()).glob("hsh-*"):
        if is_dead(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
            swept.append(folder.name)
    return swept


SETTINGS = """
cd /proc/sys/net
echo 0 >ipv4/conf/all/rp_filter
echo 0 >ipv4/conf/default/rp_filter
echo 1 >ipv4/ip_forward
echo 0 2147483647 >ipv4/ping_group_range
echo 1 >ipv6/conf/all/forwarding
echo 0 >ipv6/conf/default/accept_dad
exec ip link set lo up
"""
"""As in a container: what is forwarded is up to routes and packet filters, and everybody has ping sockets. Detecting
duplicate addresses would keep an interface from speaking IPv6 for a second."""


async def add(namespace: str) -> None:
    """A new namespace whose loopback is up."""
    await _call(["ip", "netns", "add", namespace])
    await _call(["ip", "netns", "exec", namespace, "sh", "-ec", SETTINGS])


async def delete(namespace: str) -> None:
    """Remove a namespace with all its interfaces, and their other ends. Nothing happens when it is not there."""
    if (NAMED / namespace).exists():
        await _call(["ip", "netns", "del", namespace])


async def ip(namespace: str | None, commands: Sequence[str]) -> None:
    """Commands of `ip`, all in one go, in the namespace; on the host when that is None. Raises HarnessError."""
    where = ["-n", namespace] if namespace else []
    await _call(["ip", *where, "-batch", "-"], "\n".join(commands) + "\n")


async def ip_output(namespace: str | None, *words: str) -> str:
    """What one command of `ip` prints."""
    return await _call(["ip", *(["-n", namespace] if namespace else []), *words])


async def _call(argv: Sequence[str], stdin: str = "") -> str:
    return await asyncio.to_thread(_run, argv, stdin)


def _run(argv: Sequence[str], stdin: str = "") -> str:
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise HarnessError(f"{' '.join(argv)} ended with {done.returncode}: {said}; given was {stdin!r}")
    return done.stdout
