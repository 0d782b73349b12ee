"""Names a run so that everything it makes tells whose it is, and whether that run still goes on.

A name is this process and when it began, which no later process has in common. What leaves this machine's sight (a
container of a shared engine) also says on which machine, since its boot, and among which processes that counts.
"""

import os
import re
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

OWNER: Final = re.compile(r"hsh-(\d+)-(\d+)[-.]")
VARIABLE: Final = "HARNESS_RUN"
"""In the environment of the programs that a run starts on the host."""


def run_name() -> str:
    """This process, in a way that no later process is called."""
    return f"hsh-{os.getpid()}-{_began(os.getpid())}"


def is_dead(name: str) -> bool:
    """Whether the run that this is named after has ended. What is not named by a run is none of ours."""
    found = OWNER.match(name)
    return found is not None and _began(int(found[1])) != found[2]


def is_named(name: str) -> bool:
    """Whether a run has named it."""
    return OWNER.match(name) is not None


def here() -> str:
    """Where this run's name means something: host, boot, and the processes that see each other."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()}/{boot}/{os.stat('/proc/self/ns/pid').st_ino}"


def prefix(kind: str) -> str:
    """How a folder of this run is to begin."""
    return f"{run_name()}-{kind}-"


def new_folder(kind: str) -> Path:
    """A new folder of this run, with a path that is short enough for sockets."""
    return Path(tempfile.mkdtemp(prefix=prefix(kind)))


def environ(*more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment for a program that it starts: a crash leaves the program with our name on it."""
    added = {name: value for each in more for name, value in each.items()}
    return {**os.environ, **added, VARIABLE: f"{run_name()}-"}


def _began(pid: int) -> str:
    """When the process began, in clock ticks since boot; empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]  # the name in parentheses may hold spaces
