"""/admin, the page that a client's "Admin console" opens: who asks is signed in at the identity provider, and sees and
does what their role allows at that moment."""

import html
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final, Protocol, TypeVar

from aiohttp import web

from headscale.console import texts
from headscale.console.doing import ACTS, act_on_device, actor_of, let_in, turn_away, user_called
from headscale.console.sessions import LIFETIME, Session, Sessions
from headscale.console.texts import BASE, link
from headscale.errors import HeadscaleError, Malformed, NotFound, Refused
from headscale.login.oidc.signin import FORM_MAX_BYTES, SignIn
from headscale.login.pending import PendingLogins
from headscale.pages.page import listed, page
from headscale.records import AuditEvent, Node, User
from headscale.state.acts import audited
from headscale.state.audit import note
from headscale.state.nodes import find_node
from headscale.state.people import Profile, meet
from headscale.state.scopes import DEVICES, LOGS_CONFIGURATION, USERS, Grant, grant_of_person, read
from headscale.state.snapshot import Snapshot
from headscale.state.writer import Writer

log = logging.getLogger(__name__)

KIND: Final = "console"
COOKIE: Final = "headscale_session"
# Of devices, users and events on one page.
PAGE: Final = 100
ID_MAX: Final = 2**63 - 1


R = TypeVar("R", Node, User)


class AuditEvents(Protocol):
    """Where events are read from."""

    def __call__(self, *, before: int | None, at_most: int) -> Awaitable[tuple[AuditEvent, ...]]:
        """The newest, newest first, or those before the one with this id."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in."""

    request: web.Request
    session: Session
    user: User
    grant: Grant
    snapshot: Snapshot

    def page(self, title: str, body: str) -> web.Response:
        """A page with the console's navigation."""
        whole = texts.navigation(self.user, self.grant, self.session, here=self.request.path) + body
        return page(title, whole, HTTPStatus.OK, has_form=True)

    def number(self, name: str) -> int | None:
        """A number of the query; raises Malformed for what is none."""
        text = self.request.query.get(name)
        return _number(text) if text is not None else None


Shown = Callable[[Visit], Awaitable[web.StreamResponse]]


class Console:
    """The pages. `sessions` are shared with who may end them."""

    def __init__(
        self,
        sign_in: SignIn,
        sessions: Sessions,
        writer: Writer,
        logins: PendingLogins,
        audit_events: AuditEvents,
    ) -> None:
        self._sign_in = sign_in
        self._sessions = sessions
        self._writer = writer
        self._logins = logins
        self._audit_events = audit_events
        sign_in.receive(KIND, self.arrive)

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        shown = {
            BASE: self.home,
            f"{BASE}/": self.home,
            f"{BASE}/devices": self.devices,
            f"{BASE}/device/{{id}}": self.device,
            f"{BASE}/waiting": self.waiting,
            f"{BASE}/users": self.users,
            f"{BASE}/audit": self.audit,
        }
        sent = {
            f"{BASE}/logout": self.sign_out,
            f"{BASE}/device/{{id}}/{{act}}": self.act,
            f"{BASE}/waiting/{{id}}/approve": self.let_in,
            f"{BASE}/waiting/{{id}}/reject": self.turn_away,
        }
        return [
            web.get(f"{BASE}/login/{{provider}}", self.log_in),
            *(web.get(path, partial(self._show, handler)) for path, handler in shown.items()),
            *(web.post(path, partial(self._take, handler)) for path, handler in sent.items()),
        ]

    async def log_in(self, request: web.Request) -> web.StreamResponse:
        """On to the provider that was chosen."""
        try:
            return await self._sign_in.go(KIND, request.match_info["provider"], wanted=BASE)
        except HeadscaleError as problem:
            return _trouble(problem)

    async def arrive(self, profile: Profile, provider: str, wanted: str) -> web.StreamResponse:
        """Back from the provider: the person is known here from now on, and signed in in this browser.

        `wanted` is the page of the console that they had opened.
        """
        actor = f"person {profile.email or profile.name or profile.identifier}"
        step = audited(partial(meet, profile=profile), actor=actor, action="user.refresh")
        user = await self._writer.apply(step)
        await self._writer.apply(partial(note, actor=actor_of(user), action="console.login", details=""))
        answer = web.Response(
            status=HTTPStatus.SEE_OTHER, headers={"Location": wanted, "Cache-Control": "no-store"}
        )
        answer.set_cookie(
            COOKIE,
            self._sessions.open(user.id, provider),
            path=BASE,
            max_age=int(LIFETIME.total_seconds()),
            httponly=True,
            samesite="Lax",  # it must come along with the redirect behind the provider's page; forms have tokens
            secure=self._writer.snapshot.settings.server_url.startswith("https://"),
        )
        return answer

    async def home(self, visit: Visit) -> web.StreamResponse:
        """The person's own devices, a page at a time."""
        own = _behind(visit, visit.snapshot.nodes_owned_by(visit.user.id))
        body = texts.devices(visit.snapshot, own[:PAGE], with_owner=False)
        return visit.page("My devices", body + _more(BASE, "after", own))

    async def devices(self, visit: Visit) -> web.StreamResponse:
        """All devices, a page at a time."""
        visit.grant.check(read(DEVICES))
        later = _behind(visit, visit.snapshot.nodes.values())
        body = texts.devices(visit.snapshot, later[:PAGE], with_owner=True)
        return visit.page("All devices", body + _more(f"{BASE}/devices", "after", later))

    async def device(self, visit: Visit) -> web.StreamResponse:
        """One device, and what may be done with it."""
        node = _node(visit, read(DEVICES))
        body = "".join(
            (
                listed(texts.node_rows(visit.snapshot, node, with_owner=True)),
                texts.device_forms(visit.session, node, visit.grant),
            )
        )
        return visit.page(f"Device {node.given_name}", body)

    async def waiting(self, visit: Visit) -> web.StreamResponse:
        """Logins that wait for somebody, and devices that wait for approval."""
        visit.grant.check(read(DEVICES))
        logins = [
            texts.waiting_login(visit.session, each, visit.grant) for each in self._logins.waiting[:PAGE]
        ]
        held = sorted((each for each in visit.snapshot.nodes.values() if not each.authorized), key=_id)
        body = f"<p>Logins: {len(logins)}</p>{''.join(logins)}<p>Devices to approve: {len(held)}</p>"
        if held:
            body += texts.devices(visit.snapshot, held[:PAGE], with_owner=True)
        return visit.page("Waiting", body)

    async def users(self, visit: Visit) -> web.StreamResponse:
        """Everybody, a page at a time."""
        visit.grant.check(read(USERS))
        later = _behind(visit, visit.snapshot.users.values())
        return visit.page(
            "Users", texts.users(visit.snapshot, later[:PAGE]) + _more(f"{BASE}/users", "after", later)
        )

    async def audit(self, visit: Visit) -> web.StreamResponse:
        """The audit log, newest first."""
        visit.grant.check(LOGS_CONFIGURATION)
        found = await self._audit_events(before=visit.number("before"), at_most=PAGE + 1)
        return visit.page("Audit log", texts.events(found[:PAGE]) + _more(f"{BASE}/audit", "before", found))

    async def sign_out(self, visit: Visit) -> web.StreamResponse:
        """The session is over, in this browser."""
        await _check_form(visit, "")
        self._sessions.end(visit.request.cookies.get(COOKIE, ""))
        answer = page("You are signed out", f"<p>{link(BASE, 'Sign in again')}</p>", HTTPStatus.OK)
        answer.del_cookie(COOKIE, path=BASE)
        return answer

    async def act(self, visit: Visit) -> web.StreamResponse:
        """Something is done to a device."""
        act = visit.request.match_info["act"]
        if act not in ACTS:
            raise NotFound("there is no such page")
        node = _node(visit, DEVICES)
        await _check_form(visit, texts.mark_of(node))
        await act_on_device(self._writer, visit.user, act, node.id)
        return page(ACTS[act][3], f"<p>{html.escape(node.given_name)}</p>{_back()}", HTTPStatus.OK)

    async def let_in(self, visit: Visit) -> web.StreamResponse:
        """A login that waits becomes somebody's device."""
        visit.grant.check(DEVICES)
        form = await _check_form(visit, "")
        login = self._logins.find(visit.request.match_info["id"])
        owner = user_called(visit.snapshot, form.get("user", "").strip())
        await let_in(self._writer, self._logins, visit.user, login, owner)
        return page("The device is in", f"<p>It is {html.escape(owner.login)}'s.</p>{_back()}", HTTPStatus.OK)

    async def turn_away(self, visit: Visit) -> web.StreamResponse:
        """A login that waits is turned away."""
        visit.grant.check(DEVICES)
        await _check_form(visit, "")
        login = self._logins.find(visit.request.match_info["id"])
        await turn_away(self._writer, self._logins, visit.user, login)
        return page("The login was turned away", _back(), HTTPStatus.OK)

    async def _show(self, handler: Shown, request: web.Request) -> web.StreamResponse:
        try:
            visit = self._visit(request)
            return await handler(visit) if visit is not None else await self._ask_in(request)
        except HeadscaleError as problem:
            return _trouble(problem)

    async def _take(self, handler: Shown, request: web.Request) -> web.StreamResponse:
        try:
            visit = self._visit(request)
            if visit is None:
                raise SignedOut("you are not signed in any more")
            return await handler(visit)
        except HeadscaleError as problem:
            log.info("refused in the console remote=%s reason=%s", request.remote, problem)
            return _trouble(problem)

    def _visit(self, request: web.Request) -> Visit | None:
        """Who it is; None for nobody: a user who is gone, or of a provider that is no more, is nobody."""
        session = self._sessions.find(request.cookies.get(COOKIE, ""))
        snapshot = self._writer.snapshot
        user = snapshot.users.get(session.user_id) if session is not None else None
        if session is None or user is None or session.provider not in self._sign_in.providers:
            return None
        return Visit(request, session, user, grant_of_person(user), snapshot)

    async def _ask_in(self, request: web.Request) -> web.StreamResponse:
        names = list(self._sign_in.providers)
        if not names:
            return page("There is no sign-in here", texts.NO_PROVIDER, HTTPStatus.OK)
        if len(names) == 1:
            return await self._sign_in.go(KIND, names[0], wanted=request.path_qs)
        links = "".join(f"<li>{link(f'{BASE}/login/{name}', name)}</li>" for name in names)
        return page("Sign in", f"<p>Sign in to go on:</p><ul>{links}</ul>", HTTPStatus.OK)


class SignedOut(HeadscaleError):
    """The form's session is over (HTTP 401)."""

    status = HTTPStatus.UNAUTHORIZED


def _node(visit: Visit, scope: str) -> Node:
    """The device of the path, if the person may do with it what needs the scope, or if it is theirs."""
    node_id = _number(visit.request.match_info["id"])
    visit.grant.check(scope, node=visit.snapshot.nodes.get(node_id))
    return find_node(visit.snapshot, node_id)


async def _check_form(visit: Visit, shown: str) -> dict[str, str]:
    """The form's fields. Raises Refused without this session's token for this form about what it is about now."""
    sent = await visit.request.clone(client_max_size=FORM_MAX_BYTES).post()
    fields = {name: value for name, value in sent.items() if isinstance(value, str)}
    if not visit.session.is_token(fields.get("token", ""), visit.request.path, shown):
        raise Refused(
            "this form is not of this session, or what it is about has changed since: open the page again"
        )
    return fields


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) > ID_MAX:
        raise Malformed(f"{text[:40]!r} is not a number")
    return int(text)


def _id(record: Node | User) -> int:
    return record.id


def _behind(visit: Visit, records: Iterable[R]) -> list[R]:
    """By id, those behind the last one of the page before (?after)."""
    after = visit.number("after") or 0
    return sorted((each for each in records if each.id > after), key=_id)


def _more(target: str, name: str, found: Sequence[Node | User | AuditEvent]) -> str:
    """The way to the next page, if there is one."""
    if len(found) <= PAGE:
        return ""
    return f"<p>{link(f'{target}?{name}={found[PAGE - 1].id}', 'More')}</p>"


def _back() -> str:
    return f"<p>{link(BASE, 'Back to the console')}</p>"


def _trouble(problem: HeadscaleError) -> web.Response:
    return page("This did not work", f"<p>{html.escape(str(problem))}</p>{_back()}", problem.status)
