"""POST /machine/register: decode, decide, answer.

The answer is always HTTP 200 with a RegisterResponse; a refusal travels in its `Error`, which the client
shows to its user as it stands.
"""

import logging
from datetime import UTC, datetime

import msgspec

from headscale.control.exchange import Exchange
from headscale.errors import HeadscaleError, Malformed
from headscale.keys import NodeKey, is_zero
from headscale.mapper.render import owner_id, plain, profile_of
from headscale.records import Node
from headscale.state.register import Expired, LoginNeeded, Outcome, Registered, Request, register
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

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

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
            auth_key=asked.auth.auth_key if asked.auth else "",
            expiry=_wished_expiry(asked.expiry),
            ephemeral=asked.ephemeral,
            hostinfo=asked.hostinfo or Hostinfo(),
            version=asked.version,
        )
        outcome: Outcome = await self._writer.apply(
            lambda snapshot, moment: register(snapshot, moment, request=request)
        )
        match outcome:
            case Registered(node):
                log.info(
                    "node registered node=%d name=%s remote=%s", node.id, node.given_name, exchange.remote
                )
                return _registered(self._writer.snapshot, node)
            case Expired():
                return RegisterResponse(User(0), Login(0), node_key_expired=True)
            case LoginNeeded():
                return _refused(
                    "this server takes no interactive logins yet: get a pre-auth key from its administrator and "
                    "run `tailscale up --auth-key=...` with it"
                )


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
        machine_authorized=True,
    )


def _refused(reason: str) -> RegisterResponse:
    return RegisterResponse(User(0), Login(0), error=plain(reason))
