"""What the API is a door to."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headscale.api.v1.audit import AuditEvents
from headscale.api.v1.policy import KeptPolicy
from headscale.clock import Clock
from headscale.login.checks import PendingChecks
from headscale.login.pending import PendingLogins
from headscale.mapper.questions import Questions
from headscale.monitoring.vitals import Vitals
from headscale.sealing import Sealer
from headscale.sources.policy import PolicySource
from headscale.state.imported import ImportedKeys
from headscale.state.writer import Writer
from headscale.webhooks.delivery import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """The parts of a running server. `ping` raises Unavailable when the database does not answer."""

    writer: Writer
    ping: Callable[[], Awaitable[None]]
    audit_events: AuditEvents
    policy: PolicySource
    kept_policy: KeptPolicy
    logins: PendingLogins
    checks: PendingChecks
    questions: Questions
    clock: Clock
    sealer: Sealer
    webhooks: Webhooks
    vitals: Vitals
    imported: ImportedKeys
