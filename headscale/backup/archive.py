"""The archive: a gzipped tar whose first member, `manifest.json`, names every other one with size and SHA-256.

It is readable by its owner only, written whole or not at all, and read with suspicion: what the manifest does not name,
or names otherwise, is refused before anything is put in place.
"""

import gzip
import hashlib
import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import IO, Final

import msgspec

from headscale.errors import Conflict, Malformed, Unavailable
from headscale.files import sync_folder

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
# Far beyond that of any server, and little enough to be read into memory unseen.
MANIFEST_MAX_BYTES: Final = 1024 * 1024
CHUNK_BYTES: Final = 1024 * 1024
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_BROKEN: Final = (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile)


class File(msgspec.Struct, frozen=True, rename="camel"):
    """A file of the server; `role` says what it is to it."""

    name: str
    role: str
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """What an archive holds. `revision` and `rows` are the database's."""

    format: int
    created_at: datetime
    version: str
    revision: str
    rows: dict[str, int]
    files: tuple[File, ...]

    def file(self, role: str) -> File | None:
        """The file of this role."""
        return next((file for file in self.files if file.role == role), None)


def described(staged: Mapping[str, Path]) -> tuple[File, ...]:
    """Staged files by role, each under its own name."""
    return tuple(
        File(name=path.name, role=role, size_bytes=path.stat().st_size, sha256=_digest(path))
        for role, path in staged.items()
    )


def write_archive(target: Path, manifest: Manifest, folder: Path, *, replacing: bool) -> None:
    """Put the files of the manifest, which lie in the folder, into an archive at `target`.

    Raises Conflict when there is a file already and `replacing` is not set, Unavailable when it cannot be written.
    """
    if target.exists() and not replacing:
        raise Conflict(f"there is a file {target} already: name another one, or add --force to replace it")
    fresh = target.with_name(f"{target.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _write(file, manifest, folder)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(target)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)
    except OSError as problem:
        raise Unavailable(f"the archive {target} cannot be written: {problem.strerror}") from problem


def _write(file: IO[bytes], manifest: Manifest, folder: Path) -> None:
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as tar:
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        tar.addfile(_member(MANIFEST, len(text), manifest), io.BytesIO(text))
        for entry in manifest.files:
            with (folder / entry.name).open("rb") as content:
                tar.addfile(_member(entry.name, entry.size_bytes, manifest), content)


def _member(name: str, size: int, manifest: Manifest) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(manifest.created_at.timestamp())
    return member


def unpack(archive: Path, folder: Path) -> Manifest:
    """Verify the archive into an empty folder. Raises Malformed with what is wrong with it, or Unavailable."""
    try:
        with closing(tarfile.open(archive, "r|gz")) as tar:
            return _unpack(tar, archive, folder)
    except _BROKEN as problem:
        raise Malformed(f"{archive} is damaged, or no backup of this server: {problem}") from None
    except OSError as problem:
        raise Unavailable(f"{archive} cannot be read: {problem.strerror or problem}") from problem


def _unpack(tar: tarfile.TarFile, archive: Path, folder: Path) -> Manifest:
    first = tar.next()
    content = tar.extractfile(first) if first is not None and first.name == MANIFEST else None
    if first is None or content is None or first.size > MANIFEST_MAX_BYTES:
        raise Malformed(f"{archive} is no backup of this server: its first file is not {MANIFEST}")
    manifest = _manifest(content.read(), archive)
    expected = {file.name: file for file in manifest.files}
    while (member := tar.next()) is not None:  # iterating would begin with the manifest again
        file = expected.pop(member.name, None)
        content = tar.extractfile(member) if file is not None and member.isreg() else None
        if file is None or content is None:
            raise Malformed(f"{archive} holds {member.name!r}, which its manifest does not name as a file")
        _copy(content, folder / file.name, file, archive)
    if expected:
        raise Malformed(f"{archive} is damaged: {', '.join(sorted(expected))} is missing")
    return manifest


def _manifest(text: bytes, archive: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise Malformed(f"{archive} is damaged: its {MANIFEST} cannot be read: {problem}") from None
    if manifest.format != FORMAT:
        raise Malformed(f"{archive} has format {manifest.format}, and this version reads {FORMAT}")
    names = [file.name for file in manifest.files]
    if len(set(names)) != len(names) or not all(_NAME.fullmatch(name) for name in names):
        raise Malformed(f"{archive} is damaged: its {MANIFEST} names files that cannot be in it")
    return manifest


def _copy(content: IO[bytes], target: Path, file: File, archive: Path) -> None:
    digest, left = hashlib.sha256(), file.size_bytes
    with os.fdopen(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as out:
        for chunk in _chunks(content):
            left -= len(chunk)
            if left < 0:
                break
            digest.update(chunk)
            out.write(chunk)
    if left != 0 or digest.hexdigest() != file.sha256:
        raise Malformed(f"{archive} is damaged: {file.name} is not what was saved (its SHA-256 differs)")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chunks(content: IO[bytes]) -> Iterable[bytes]:
    return iter(lambda: content.read(CHUNK_BYTES), b"")
