"""The folder that a failed test leaves: what each part can show of itself, the history, and how to run the
test again.

Collecting never fails a test a second time: what could not be had is named in `missing.txt`.
"""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from harness.history import History
from harness.masking import masked

SOURCE_SECONDS = 20.0
"""One part's share of the time, so that a dead one does not keep the others."""

NAME_LIMIT = 120
"""Characters of a folder's name; file systems take 255 bytes."""

TEXTS = frozenset({".log", ".json", ".jsonl", ".txt", ".yaml"})
"""What secrets are masked in. Databases keep none but hashes."""

Item = tuple[str, bytes | Path]


class Evidence(Protocol):
    """Something that can show its state: a client, a server."""

    @property
    def name(self) -> str:
        """Names its sub-folder."""

    def evidence(self) -> AsyncIterator[Item]:
        """File names and their content, or a file to copy. May raise at any point."""


def folder_for(root: Path, test: str) -> Path:
    """The folder of a test, named so that a person finds it: its id with all but plain characters replaced."""
    return root / re.sub(r"[^A-Za-z0-9._-]+", "-", test).strip("-")[-NAME_LIMIT:]


async def collect(folder: Path, sources: Iterable[Evidence], *, history: History, rerun: str) -> Path:
    """Fill the folder from all sources, several at a time, and return it."""
    _write(folder, {"rerun.txt": rerun})
    history.write(folder / "history.jsonl")
    missing = [line for line in await asyncio.gather(*(_take(folder, source) for source in sources)) if line]
    if missing:
        _write(folder, {"missing.txt": "\n".join(missing)})
    return folder


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(f"{text}\n")


def _keep(path: Path, content: bytes | Path) -> None:
    if path.suffix in TEXTS:
        raw = content if isinstance(content, bytes) else content.read_bytes()
        path.write_text(masked(raw.decode(errors="replace")))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        shutil.copyfile(content, path)


async def _take(folder: Path, source: Evidence) -> str | None:
    own = folder / source.name
    _write(own, {})
    try:
        async with asyncio.timeout(SOURCE_SECONDS):
            async for name, content in source.evidence():
                await asyncio.to_thread(_keep, own / name, content)
    except Exception as error:  # a broken part is just what we are called to look at
        return f"{source.name}: {error!r}"
    return None
