"""`GET /machine/ssh/action/<source>/to/<destination>`: a node asks whether an SSH session may go on that a rule checks.

The client asks at the address that the rule gave it, shows its user the message of the answer, and follows the next
address, where the answer waits until somebody has decided.
Source: tailscale.com v1.102.4, ssh/tailssh (resolveNextAction).
"""

import logging
import re
from typing import Final
from urllib.parse import urlencode

import msgspec

from headscale.control.exchange import Exchange
from headscale.errors import Malformed, NotFound, Refused
from headscale.login.checks import PendingChecks, Session
from headscale.login.pending import AUTH_PATH, Approved, Lapsed, Rejected, Verdict
from headscale.mapper.render import plain
from headscale.policy.ssh import Checked
from headscale.records import Node
from headscale.state.writer import Writer
from headscale.tailcfg.ssh import SSHAction

log = logging.getLogger(__name__)

PATH: Final = "/machine/ssh/action/"
_ENDS: Final = re.compile(r"([0-9]{1,19})/to/([0-9]{1,19})")
USER_MAX: Final = 256
NOT_CHECKED: Final = "this session is not allowed"
LATE: Final = "nobody confirmed this session in time"


class SSHCheckHandler:
    """See the module."""

    def __init__(self, writer: Writer, checks: PendingChecks) -> None:
        self._writer = writer
        self._checks = checks

    async def handle(self, exchange: Exchange) -> None:
        """Answer with the next action; with the one of a check when that is decided."""
        source, target, local_user = self._asked(exchange)
        session = Session(source.id, source.user_id, target.id, local_user)
        needed = self._needed(session)
        if needed is None:
            await _answer(exchange, _rejected(NOT_CHECKED))
            return
        check_id = exchange.query.get("auth_id", "")
        check = self._checks.of(check_id, session) if check_id else None
        if check is None:
            # Without an id, with one of before a restart, or with one of another session: asked about anew.
            await _answer(exchange, self._next(session, source, target, needed))
            return
        await _answer(exchange, self._decided(session, await self._checks.decided(check)))

    def _asked(self, exchange: Exchange) -> tuple[Node, Node, str]:
        """Who comes, to whom, as whom. Only the node that is come to may ask."""
        snapshot = self._writer.snapshot
        ends = _ENDS.fullmatch(exchange.path.removeprefix(PATH))
        local_user = exchange.query.get("local_user", "")
        if ends is None or not 0 < len(local_user) <= USER_MAX:
            raise Malformed("expected /machine/ssh/action/<source>/to/<destination>?local_user=<name>")
        target = snapshot.nodes.get(int(ends[2]))
        if target is None or target.machine_key != exchange.machine_key:
            raise NotFound("no such node on this machine")
        if target.expired or not target.authorized:
            raise Refused("this node's key has expired, or it waits for approval")
        source = snapshot.nodes.get(int(ends[1]))
        if source is None:
            raise NotFound("no such node")
        return source, target, local_user

    def _needed(self, session: Session) -> Checked | None:
        """What the policy of this moment asks of the session; its period, too, comes from there and nowhere else."""
        snapshot = self._writer.snapshot
        source = snapshot.nodes.get(session.source_id)
        if source is None or source.expired or source.user_id != session.owner_id:
            return None
        return snapshot.policy.ssh_check(session.source_id, session.target_id, session.local_user)

    def _next(self, session: Session, source: Node, target: Node, needed: Checked) -> SSHAction:
        if self._checks.has_passed(session, needed.period):
            log.info("ssh session goes on node=%d source=%d", target.id, source.id)
            return needed.action
        check = self._checks.open(session)
        base = self._writer.snapshot.settings.server_url
        query = urlencode({"local_user": session.local_user, "auth_id": check.id})
        log.info("ssh session waits to be confirmed node=%d source=%d", target.id, source.id)
        return SSHAction(
            message=f"# This session needs a confirmation. To confirm that it is you, visit:\n#\n"
            f"#     {base}{AUTH_PATH}{check.id}\n#\n",
            hold_and_delegate=f"{base}{PATH}{source.id}/to/{target.id}?{query}",
        )

    def _decided(self, session: Session, verdict: Verdict) -> SSHAction:
        """What somebody said counts only while the policy still lets the session in after a check."""
        needed = self._needed(session)
        match verdict:
            case Approved() if needed is not None:
                log.info("ssh session confirmed node=%d source=%d", session.target_id, session.source_id)
                return needed.action
            case Rejected(reason):
                return _rejected(reason)
            case Lapsed():
                return _rejected(LATE)
        return _rejected(NOT_CHECKED)


def _rejected(reason: str) -> SSHAction:
    return SSHAction(reject=True, message=f"# {plain(reason)}\n")


async def _answer(exchange: Exchange, action: SSHAction) -> None:
    await exchange.respond(200, msgspec.json.encode(action))
