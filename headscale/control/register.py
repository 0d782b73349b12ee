"""POST /machine/register: decode, decide, answer.

The answer is always HTTP 200 with a RegisterResponse; a refusal travels in its `Error`, which the client
shows to its user as it stands.

A client for which nobody vouches yet is given a URL. It shows that to its user and asks again with the URL as
`Followup`; that request is held until somebody decides (`login.pending`), and a client whose login lapsed meanwhile
is given another URL. Source: tailscale v1.102.4, control/controlclient/auto.go and direct.go.
"""

import logging
from datetime import UTC, datetime
from functools import partial

import msgspec

from headscale import logs
from headscale.control.exchange import Exchange
from headscale.errors import HeadscaleError, Malformed
from headscale.keys import NodeKey, is_zero
from headscale.login.pending import (
    REGISTER_PATH,
    Approved,
    PendingLogin,
    PendingLogins,
    Rejected,
)
from headscale.mapper.render import owner_id, plain, profile_of
from headscale.records import Node
from headscale.state.admission import Expired, LoginNeeded, Outcome, Registered, Request
from headscale.state.imported import ImportedKeys
from headscale.state.register import register
from headscale.state.snapshot import Snapshot
from headscale.state.writer import Writer
from headscale.tailcfg import capver
from headscale.tailcfg.hostinfo import Hostinfo
from headscale.tailcfg.names import decode_request
from headscale.tailcfg.register import Login, RegisterRequest, RegisterResponse, User

log = logging.getLogger(__name__)

# Go writes the zero time for "no wish"; nobody logs out with a date before this.
ZERO_TIME_YEAR = 1


def too_old(version: int) -> str | None:
    """What to tell a client that we do not speak to, or None."""
    if version >= capver.OLDEST:
        return None
    return (
        f"this client speaks capability version {version} ({capver.release_of(version)}), and this server needs "
        f"{capver.OLDEST} or newer: update Tailscale to {capver.OLDEST_RELEASE} or later"
    )


class RegisterHandler:
    """Registers nodes through the writer, so that an answer is given only when it is durable."""

    def __init__(self, writer: Writer, logins: PendingLogins, imported: ImportedKeys) -> None:
        self._writer = writer
        self._imported = imported
        self._logins = logins

    async def handle(self, exchange: Exchange) -> None:
        """Answer one registration."""
        try:
            response = await self._response(exchange)
        except HeadscaleError as refusal:
            log.info("registration refused remote=%s reason=%s", exchange.remote, refusal)
            response = _refused(str(refusal))
        await exchange.respond(200, msgspec.json.encode(response))

    async def _response(self, exchange: Exchange) -> RegisterResponse:
        asked = decode_request(exchange.body, RegisterRequest)
        if (complaint := too_old(asked.version)) is not None:
            return _refused(complaint)
        if is_zero(asked.node_key):
            raise Malformed("the zero node key stands for no key: expected one of the client's own")
        request = Request(
            machine_key=exchange.machine_key,
            node_key=NodeKey(asked.node_key.lower()),
            old_node_key=NodeKey(asked.old_node_key.lower()),
            auth_key=asked.auth.auth_key if asked.auth else "",
            expiry=_wished_expiry(asked.expiry),
            ephemeral=asked.ephemeral,
            hostinfo=asked.hostinfo or Hostinfo(),
            version=asked.version,
            tailnet=asked.tailnet,
        )
        await self._imported.settle_pre_auth_key(request.auth_key)
        outcome = await self._decide(request)
        if isinstance(outcome, LoginNeeded) and asked.followup:
            login = self._logins.followed_up(asked.followup, request)
            verdict = await self._logins.decided(login) if login is not None else None
            if isinstance(verdict, Rejected):
                return _refused(verdict.reason)
            if isinstance(verdict, Approved):
                outcome = await self._decide(request)
        match outcome:
            case Registered(node):
                logs.note(node=node.id)
                log.info(
                    "node registered node=%d name=%s remote=%s", node.id, node.given_name, exchange.remote
                )
                return _registered(self._writer.snapshot, node)
            case Expired():
                return RegisterResponse(User(0), Login(0), node_key_expired=True)
            case LoginNeeded():
                return self._with_url(self._logins.open(request, exchange.remote))

    async def _decide(self, request: Request) -> Outcome:
        return await self._writer.apply(partial(register, request=request))

    def _with_url(self, login: PendingLogin) -> RegisterResponse:
        url = f"{self._writer.snapshot.settings.server_url}{REGISTER_PATH}{login.id}"
        log.info(
            "login waits for somebody to vouch name=%s remote=%s",
            plain(login.request.hostinfo.hostname),
            login.source,
        )
        return RegisterResponse(User(0), Login(0), auth_url=url)


def _wished_expiry(asked: datetime | None) -> datetime | None:
    """In UTC, as everything that we keep; None when the client has no wish."""
    if asked is None or asked.year <= ZERO_TIME_YEAR:
        return None
    try:
        return asked.astimezone(UTC)
    except OverflowError:
        raise Malformed(f"the expiry {asked.isoformat()} lies beyond the last year that there is") from None


def _registered(snapshot: Snapshot, node: Node) -> RegisterResponse:
    owner = owner_id(node)
    profile = profile_of(owner, snapshot.users.get(owner))
    return RegisterResponse(
        user=User(owner, profile.display_name, profile.profile_pic_url),
        login=Login(
            owner,
            login_name=profile.login_name,
            display_name=profile.display_name,
            profile_pic_url=profile.profile_pic_url,
        ),
        machine_authorized=node.authorized,
    )


def _refused(reason: str) -> RegisterResponse:
    return RegisterResponse(User(0), Login(0), error=plain(reason))
