"""A program that runs to its end."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """Its exit code and what it printed."""

    code: int | None
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Program:
    """The program at this path with these variables and no others."""

    path: Path
    environment: Mapping[str, str]

    async def __call__(self, *words: str, folder: Path | None = None, **variables: str) -> Ran:
        """Run it with these arguments and more variables."""
        process = await asyncio.create_subprocess_exec(
            self.path,
            *words,
            env={**self.environment, **variables},
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        return Ran(process.returncode, out.decode(), err.decode())
