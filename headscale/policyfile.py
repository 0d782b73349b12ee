"""A policy file as operators see it: its text, and where in it something is wrong."""

from pathlib import Path

from headscale.errors import Malformed, Unavailable
from headscale.policy.complaints import Complaint


def read_policy(path: Path) -> str:
    """The text of a policy file, byte for byte; raises Unavailable or Malformed."""
    try:
        return path.read_bytes().decode()
    except OSError as problem:
        raise Unavailable(f"the policy file {path} cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise Malformed(f"the policy file {path} is not UTF-8 text (byte {problem.start})") from None


def in_file(path: Path, complaints: tuple[Complaint, ...]) -> str:
    """The complaints as compilers write them, one a line."""
    return "\n".join(_placed(path, complaint) for complaint in complaints)


def _placed(path: Path, complaint: Complaint) -> str:
    place = f"{path}:{complaint.line}:{complaint.column}" if complaint.line else str(path)
    about = f"{complaint.path}: " if complaint.path else ""
    return f"{place}: {about}{complaint.message}"
