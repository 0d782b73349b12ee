"""Recorded pairs of REST v1 and v2: a request, and what is answered to it in one furnished tailnet.

`tests/data/rest_v1.jsonl` has one object a line: id, method, path (behind /api/v1/), body, status, answer. What differs
from run to run stands there as a placeholder. The answers were recorded from this server and read against the Go
headscale's (0.30) list of fields and rules; `RECORD_REST_V1=1 pytest …/test_rest_v1.py` records them again. v2's are in
`rest_v2.jsonl`, alike.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

from tests.integration.doors import Door
from tests.integration.fakes import Enrolled, Tailnet, registered

DATA: Final = Path(__file__).parent.parent / "data"
FILE: Final = DATA / "rest_v1.jsonl"
FILE_V2: Final = DATA / "rest_v2.jsonl"
POLICY: Final = '{"tagOwners": {"tag:web": ["alice@"], "tag:db": []}} // tags\n'
LOGIN: Final = "hskey-authreq-" + "0" * 24
ROUTES: Final = ["10.1.0.0/16", "10.2.0.0/16", "0.0.0.0/0", "::/0"]

_PLACES: Final = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
    (re.compile(r"hskey-(auth|api)-[0-9a-f]{12}-[0-9a-f]{64}"), r"<\1 key>"),
    (re.compile(r"hskey-(auth|api)-[0-9a-f]{12}-\*\*\*"), r"<masked \1 key>"),
    (re.compile(r"tskey-client-k[0-9a-f]{11}-[0-9a-f]{64}"), "<client secret>"),
    (re.compile(r"^k[0-9a-f]{11}$"), "<client id>"),
    (re.compile(r"(mkey|nodekey|discokey):(?!0{64})[0-9a-f]{64}"), r"<\1>"),
)
# Times that are part of what was asked, or stand for none.
_FIXED: Final = ("0001-01-01T00:00:00Z", "2100-01-01T00:00:00Z")


def load(file: Path = FILE) -> list[dict[str, Any]]:
    """All pairs."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def record(pairs: list[dict[str, Any]], file: Path = FILE) -> None:
    """Keep them with their answers of now."""
    file.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))


def plain(value: Any, name: str = "") -> Any:
    """A document with placeholders."""
    if isinstance(value, dict):
        return {key: plain(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if name == "lastSeen":  # written down beside the request, so now or soon
        return "<time or null>"
    if not isinstance(value, str) or value in _FIXED:
        return value
    for pattern, place in _PLACES:
        value = pattern.sub(place, value)
    return value


async def furnish(tailnet: Tailnet, admin: Door) -> None:
    """Users alice and bob; alice's laptop (1), online, with routes; a tagged node (2); bob's phone (3); a login."""
    await admin("PUT", "policy", {"policy": POLICY})
    laptop = await tailnet.client("My Laptop")
    laptop.hostinfo["RoutableIPs"] = ROUTES[:1] + ROUTES[2:]
    await registered(laptop, await tailnet.key("1", reusable=True))
    await admin("POST", "node/1/approve_routes", {"routes": ROUTES[:2] + ROUTES[2:3]})
    await tailnet.join("web", tags=("tag:web",))
    await tailnet.join("phone", user="2", ephemeral=True)
    await Enrolled(laptop, 1).stream()
    body = {"user": "alice", "key": LOGIN, "name": "printer", "routes": ["10.9.0.0/16"]}
    await admin("POST", "debug/node", body)
