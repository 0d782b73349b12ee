"""Programs that tests run to their end."""

import json
import subprocess
from pathlib import Path
from typing import Any


def run(*words: str | Path, check: bool = True) -> str:
    """Its output. Fails with what it said, unless it may fail."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def inspect(container: str) -> Any:
    """What the engine knows of it."""
    return json.loads(run("docker", "inspect", container))[0]
