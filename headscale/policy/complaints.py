"""What is wrong with a policy, said so that its writer finds and mends it."""

from dataclasses import dataclass
from typing import Final

from headscale.errors import Malformed

# More help nobody; a policy of the wrong kind altogether would name every line.
COMPLAINTS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong, and where: line and column from 1 (0 when it is about the whole), and the path."""

    message: str
    line: int = 0
    column: int = 0
    path: str = ""

    def __str__(self) -> str:
        if not self.line:
            return self.message
        where = f"line {self.line}, column {self.column}"
        return f"{where} ({self.path}): {self.message}" if self.path else f"{where}: {self.message}"


class PolicyRefused(Malformed):
    """The policy cannot be taken; the message is all complaints, one a line."""

    def __init__(self, complaints: tuple[Complaint, ...]) -> None:
        super().__init__("\n".join(map(str, complaints)))
        self.complaints = complaints
