"""Guides whose commands are followed to the letter: their blocks, and a reader who types them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`([\w/]+\.(?:py|go))`[^`]*$")
# Of our own environment: nox points uv at it (UV_PYTHON, UV_PROJECT_ENVIRONMENT), where whatever a guide's misses is.
OURS = ("PYTEST_", "PYTHON", "VIRTUAL_ENV", "HARNESS_STRICT", "HARNESS_RUN", "NOX_", "UV_P")
ACTIVATED = "[ ! -e .venv ] || . .venv/bin/activate\n"


@dataclass(frozen=True)
class Step:
    """A block of the text: commands, or a file with its name."""

    commands: str
    file: str


def steps(guide: Path, heading: str) -> list[Step]:
    """Those of a section: what is in `sh`, and files. What only shows something is in `console` or `text`."""
    (section,) = [part for part in guide.read_text().split("\n## ") if part.startswith(heading)]
    found = []
    for block in FENCE.finditer(section):
        if block[1] == "sh":
            found.append(Step(block[2], ""))
        elif block[1] not in ("console", "text"):
            named = NAMED.search(section[: block.start()].rstrip())
            assert named is not None, f"the block after {section[: block.start()][-80:]!r} names no file"
            found.append(Step(block[2], named[1]))
    return found


class Reader:
    """Somebody who does what a guide says, in a folder of theirs.

    `instead` is what they write where the guide has an example's name, `more` what their environment has besides, and
    `shell` what runs their commands: bash here, or one on another machine.
    """

    def __init__(
        self,
        folder: Path,
        guide: Path,
        *,
        instead: Mapping[str, str] | None = None,
        more: Mapping[str, str] | None = None,
        shell: Sequence[str] = ("bash",),
    ) -> None:
        self.folder = folder
        self.instead = {"/path/to/headscale": str(ROOT), **(instead or {})}
        self._guide = guide
        self._more = dict(more or {})
        self._shell = shell

    def follow(self, heading: str) -> "subprocess.CompletedProcess[str]":
        """All steps of a section; returns the last command's end. Those before must succeed."""
        done = None
        for step in steps(self._guide, heading):
            if step.file:
                (self.folder / step.file).parent.mkdir(exist_ok=True)
                (self.folder / step.file).write_text(step.commands)
                continue
            assert done is None or done.returncode == 0, done
            done = self.type(step.commands)
        assert done is not None
        return done

    def type(self, commands: str) -> "subprocess.CompletedProcess[str]":
        """Into a shell in which the environment is active once it is there."""
        text = commands
        for example, real in self.instead.items():
            text = text.replace(example, real)
        if uv := shutil.which("uv"):
            text = text.replace("pip install", f"{shlex.quote(uv)} pip install -q")
        env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)} | self._more
        env["PATH"] = os.pathsep.join(
            part for part in env["PATH"].split(os.pathsep) if not Path(part).is_relative_to(sys.prefix)
        )
        argv = [*self._shell, "-e", "-c", ACTIVATED + text]
        return subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True, check=False)


def typed(guide: Path) -> list[str]:
    """All that a guide has somebody type: its `sh` blocks, in their order."""
    return [block[2] for block in FENCE.finditer(guide.read_text()) if block[1] == "sh"]


def with_commands(folder: Path, programs: Mapping[str, str]) -> dict[str, str]:
    """An environment in which these names are commands, each a line of sh; the folder is made for them."""
    folder.mkdir()
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return {"PATH": os.pathsep.join([str(folder), os.environ["PATH"]])}
