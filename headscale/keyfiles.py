"""Private keys on disk: read them, or make them once, readable by their owner only."""

import os
from pathlib import Path

from headscale.errors import Malformed, Unavailable
from headscale.keys import PrivateKey, generate_private_key, parse_private_key


def load_or_create(path: Path) -> PrivateKey:
    """The private key in this file; a new one is written when there is no file.

    Raises Malformed when the file holds something else: it is never overwritten, because every client that
    ever joined knows the server by the old key. Raises Unavailable when it can be neither read nor written.
    """
    try:
        return read_key(path)
    except FileNotFoundError:
        return _create(path)


def read_key(path: Path) -> PrivateKey:
    """The private key in this file. Raises FileNotFoundError, Malformed or Unavailable."""
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        raise Malformed(f"{path} is not a private key file") from None
    except OSError as problem:
        raise Unavailable(f"the private key {path} cannot be read: {problem.strerror}") from problem
    try:
        return parse_private_key(text)
    except Malformed as problem:
        raise Malformed(f"{path}: {problem}") from None


def _create(path: Path) -> PrivateKey:
    """Written in full and durable under another name first, so that a crash leaves no half key."""
    key = generate_private_key()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.unlink(missing_ok=True)  # in a container a process that crashed here had the same number
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, key.reveal().encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
        _sync_directory(path.parent)
    except OSError as problem:
        raise Unavailable(f"the private key {path} cannot be written: {problem.strerror}") from problem
    return key


def _sync_directory(path: Path) -> None:
    """The name of a file is durable only when its directory is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
