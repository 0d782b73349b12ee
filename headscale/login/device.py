"""The device that asks to be let in, and the session that waits, as people are shown them."""

from typing import Final

from headscale.keys import MachineKey
from headscale.login.checks import Session
from headscale.state.admission import Request
from headscale.state.snapshot import Snapshot

FINGERPRINT_DIGITS: Final = 16


def device_rows(request: Request) -> list[tuple[str, str]]:
    """What it says of itself, and by what it is known; text, by its names."""
    hostinfo = request.hostinfo
    rows = [
        ("Device", hostinfo.hostname or "(no name)"),
        ("System", " ".join(filter(None, (hostinfo.os, hostinfo.os_version))) or "(not said)"),
        ("Machine key", fingerprint(request.machine_key)),
    ]
    if hostinfo.request_tags:
        rows.append(("Asks for tags", ", ".join(hostinfo.request_tags)))
    return rows


def fingerprint(key: MachineKey) -> str:
    """The start of a machine key in groups of four, to compare by eye with what the device shows."""
    digits = key.partition(":")[2][:FINGERPRINT_DIGITS]
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def session_text(snapshot: Snapshot, session: Session) -> str:
    """The same in one line, as the audit log has it."""
    rows = dict(session_rows(snapshot, session))
    return f"from {rows['From']} to {rows['To']} as {rows['As']}"


def session_rows(snapshot: Snapshot, session: Session) -> list[tuple[str, str]]:
    """What a check is about, as people are shown it."""
    names = {node_id: node.given_name for node_id, node in snapshot.nodes.items()}
    return [
        ("From", names.get(session.source_id, "(gone)")),
        ("To", names.get(session.target_id, "(gone)")),
        ("As", session.local_user),
    ]
