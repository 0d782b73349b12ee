"""A policy file as operators see it: its text, and where in it something is wrong."""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from headscale.errors import Malformed, Unavailable
from headscale.policy.complaints import Complaint

# Far beyond any policy that people keep; a larger one would keep the server busy for minutes.
TEXT_MAX_BYTES: Final = 10 * 1024 * 1024
TOO_LARGE: Final = f"a policy has at most {TEXT_MAX_BYTES // 1024**2} MiB ({TEXT_MAX_BYTES} bytes)"


def read_policy(path: Path) -> str:
    """The text of a policy file, byte for byte; raises Unavailable or Malformed."""
    try:
        with path.open("rb") as file:
            return read_text(file, f"the policy file {path}")
    except OSError as problem:
        raise Unavailable(f"the policy file {path} cannot be read: {problem.strerror}") from problem


def read_text(file: BinaryIO, name: str) -> str:
    """The text in an open file of this name; raises Malformed."""
    data = file.read(TEXT_MAX_BYTES + 1)
    if len(data) > TEXT_MAX_BYTES:
        raise Malformed(f"{name} is too large: {TOO_LARGE}")
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        raise Malformed(f"{name} is not UTF-8 text (byte {problem.start})") from None


def in_file(path: Path, complaints: tuple[Complaint, ...]) -> str:
    """The complaints as compilers write them, one a line, in the order of the file."""
    return "\n".join(_placed(path, complaint) for complaint in in_order(complaints))


def in_order(complaints: Iterable[Complaint]) -> list[Complaint]:
    """As they stand in the file; those about the whole last."""
    return sorted(complaints, key=lambda complaint: (not complaint.line, complaint.line, complaint.column))


def _placed(path: Path, complaint: Complaint) -> str:
    place = f"{path}:{complaint.line}:{complaint.column}" if complaint.line else str(path)
    about = f"{complaint.path}: " if complaint.path else ""
    return f"{place}: {about}{complaint.message}"
