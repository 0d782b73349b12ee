"""Files that are replaced whole: whoever reads one sees the old or the new content, after a power cut too."""

import os
from collections.abc import Iterable
from pathlib import Path


def replace_file(path: Path, content: bytes, *, mode: int) -> None:
    """Put the content in place with one rename; makes the folder if need be. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def give_to_owner_of(folder: Path, paths: Iterable[Path]) -> None:
    """Let these files be the folder's owner's, where root made them: the server may run as that user."""
    owner = folder.stat()
    for path in paths:
        if os.geteuid() == 0 and path.exists():
            os.chown(path, owner.st_uid, owner.st_gid)


def sync_folder(path: Path) -> None:
    """Make the names in the folder durable: a file's name is only when its folder is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
