"""The HTML of the console: what is shown of devices, logins, users and the audit log. All from outside is escaped."""

import html
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from headscale.console.sessions import Session
from headscale.login.device import device_rows
from headscale.login.pending import PendingLogin
from headscale.pages.page import listed
from headscale.records import AuditEvent, Change, Node, User
from headscale.state.scopes import DEVICES, LOGS_CONFIGURATION, USERS, Grant, read
from headscale.state.snapshot import Snapshot

BASE: Final = "/admin"
# Each place, its heading, and the scope that opens it; None for everybody.
PLACES: Final[tuple[tuple[str, str, str | None], ...]] = (
    (BASE, "My devices", None),
    (f"{BASE}/devices", "All devices", read(DEVICES)),
    (f"{BASE}/waiting", "Waiting", read(DEVICES)),
    (f"{BASE}/users", "Users", read(USERS)),
    (f"{BASE}/audit", "Audit log", LOGS_CONFIGURATION),
)
NO_PROVIDER: Final = (
    "<p>People sign in here at an identity provider (OpenID Connect), and this server has none.</p>"
    "<p>Whoever runs it sets <code>oidc.issuer</code>, <code>oidc.client_id</code> and the client's secret in its "
    "configuration. Until then the <code>headscale</code> command on the server does all that these pages would.</p>"
)


def link(target: str, words: str, *, is_here: bool = False) -> str:
    """A link; both are text. `is_here`: to the page that it stands on."""
    current = ' aria-current="page"' if is_here else ""
    return f'<a href="{html.escape(target)}"{current}>{html.escape(words)}</a>'


def form(session: Session, target: str, words: str, *, shown: str = "", fields: str = "") -> str:
    """A button of its own form; `fields` is HTML, `shown` what the session's token depends on."""
    return (
        f'<form method="post" action="{html.escape(target)}">'
        f'<input type="hidden" name="token" value="{session.token(target, shown)}">{fields}'
        f"<button>{html.escape(words)}</button></form>"
    )


def navigation(user: User, grant: Grant, session: Session, *, here: str) -> str:
    """Who is signed in, the places that they may see, and the way out; `here` is the path of the page."""
    places = " · ".join(
        link(target, words, is_here=target == here)
        for target, words, scope in PLACES
        if scope is None or grant.allows(scope)
    )
    who = f"<p>Signed in as <strong>{html.escape(user.login)}</strong> ({user.role.value}).</p>"
    return (
        f'{who}<nav aria-label="Console"><p>{places}</p></nav>{form(session, f"{BASE}/logout", "Sign out")}'
    )


def devices(snapshot: Snapshot, nodes: Iterable[Node], *, with_owner: bool) -> str:
    """One section a device."""
    shown = "".join(
        f"<section><h2>{link(f'{BASE}/device/{node.id}', node.given_name)}</h2>"
        f"{listed(node_rows(snapshot, node, with_owner=with_owner))}</section>"
        for node in nodes
    )
    return shown or "<p>There are no devices.</p>"


def node_rows(snapshot: Snapshot, node: Node, *, with_owner: bool) -> list[tuple[str, str]]:
    """What people look for in a device."""
    rows = [("Addresses", ", ".join(map(str, node.addresses)) or "none")]
    if with_owner:
        owner = snapshot.users.get(node.user_id or 0)
        rows.append(("Owner", owner.login if owner else ", ".join(node.tags)))
    rows.append(("Last seen", "online now" if node.online else moment(node.last_seen, "never")))
    ends = f"ends {moment(node.expiry, '')}" if node.expiry is not None else "does not end"
    rows.append(("Login", "has ended" if node.expired else ends))
    if not node.authorized:
        rows.append(("Approval", "waits for an administrator"))
    return rows


def mark_of(node: Node) -> str:
    """What changes when a form about this device is about something else by now."""
    return f"{node.node_key} {node.user_id} {node.expiry} {node.expired} {node.authorized}"


def device_forms(session: Session, node: Node, grant: Grant) -> str:
    """What this person may do with the device."""
    is_own = node.user_id is not None and node.user_id == grant.person
    base, mark, forms = f"{BASE}/device/{node.id}", mark_of(node), []
    if grant.allows(DEVICES) and not node.authorized:
        forms.append(form(session, f"{base}/approve", "Approve", shown=mark))
    if grant.allows(DEVICES) or (is_own and grant.allows_own(DEVICES)):
        if not node.expired:
            forms.append(form(session, f"{base}/logout", "Log out this device", shown=mark))
        forms.append(form(session, f"{base}/remove", "Remove this device", shown=mark))
    return "".join(forms)


def waiting_login(session: Session, login: PendingLogin, grant: Grant) -> str:
    """A login that waits, and what may be decided about it."""
    name = html.escape(login.request.hostinfo.hostname[:80] or "(no name)")
    shown = f"<section><h2>{name}</h2>{listed(device_rows(login.request))}"
    if grant.allows(DEVICES):
        base = f"{BASE}/waiting/{login.id}"
        field = (
            f'<p><label for="user-{login.id}">User who gets it (name, e-mail address or ID)</label> '
            f'<input id="user-{login.id}" name="user" required maxlength="255"></p>'
        )
        shown += form(session, f"{base}/approve", "Let it in", fields=field)
        shown += form(session, f"{base}/reject", "Turn it away")
    return f"{shown}</section>"


def users(snapshot: Snapshot, shown: Iterable[User]) -> str:
    """One section a user."""
    return "".join(
        f"<section><h2>{html.escape(user.login)}</h2>{listed(_user_rows(snapshot, user))}</section>"
        for user in shown
    )


def _user_rows(snapshot: Snapshot, user: User) -> list[tuple[str, str]]:
    nodes = snapshot.nodes_owned_by(user.id)
    return [
        ("Name", user.display_name or user.name or user.login),
        ("Role", user.role.value),
        ("Devices", f"{len(nodes)}, {sum(node.online for node in nodes)} online"),
    ]


def events(found: Iterable[AuditEvent]) -> str:
    """One section an event, with what it changed."""
    return "".join(
        f"<section><h2>{html.escape(event.action)}</h2>{listed(_event_rows(event))}</section>"
        for event in found
    )


def _event_rows(event: AuditEvent) -> list[tuple[str, str]]:
    rows = [("When", moment(event.at, "")), ("Who", event.actor)]
    if event.details:
        rows.append(("Details", event.details))
    return [*rows, *(("Changed", _changed(change)) for change in event.changes)]


def _changed(change: Change) -> str:
    """`user 2 bob: role: member → admin`."""
    before, after = change.before or {}, change.after or {}
    named = f"{change.target} {change.name}".strip()
    if change.before is None or change.after is None:
        return f"{named}, {'new' if change.after is not None else 'gone'}"
    return f"{named}: " + ", ".join(f"{name}: {before.get(name)} → {after[name]}" for name in after)


def moment(at: datetime | None, otherwise: str) -> str:
    """To the minute, in UTC."""
    return at.strftime("%Y-%m-%d %H:%M UTC") if at is not None else otherwise
