"""Why a node is offline, as a person reads it at a terminal."""

from typing import Any

from headscale.cli.output import moment


def why(found: dict[str, Any]) -> str:
    """The summary, each cause with what to do, and what is known."""
    lines = [found["summary"]]
    for cause in found["causes"]:
        lines += ["", f"  {cause['what']}", f"  → {cause['next']}"]
    known = (
        ("last seen", moment(found["lastSeen"])),
        ("connected", _connected(found)),
        ("client", " ".join(filter(None, (found["os"], found["clientVersion"]))) + _capability(found)),
        ("home relay", found["homeRelay"]),
        ("endpoints", ", ".join(found["endpoints"])),
        ("key ends", moment(found["expiry"]) if found["expiry"] else "never"),
        ("server", f"started {moment(found['serverStarted'])}, its clock says {moment(found['serverTime'])}"),
    )
    return "\n".join([*lines, "", *(f"  {name:<12}{value or '-'}" for name, value in known)])


def _connected(found: dict[str, Any]) -> str:
    if not found["connected"]:
        return "not since the server was started"
    since = f"{moment(found['connected'])} from {found['remote']}"
    return f"{since}, until {moment(found['ended'])} ({found['ending']})" if found["ended"] else since


def _capability(found: dict[str, Any]) -> str:
    return f" (capability version {found['capabilityVersion']})" if found["capabilityVersion"] else ""
