"""What the hosted service has and this server has not: each a 501 that says why, so that nobody takes it for a mistake
in the address.
"""

from typing import Any, Final

from headscale.api.v2.endpoints import Endpoint, not_served
from headscale.state.scopes import (
    ACCOUNT,
    DEVICES,
    LOG_STREAMING,
    LOGS_CONFIGURATION,
    LOGS_NETWORK,
    SETTINGS,
    USERS,
    read,
)

_CONTACTS: Final = (
    "contacts are people of the hosted service's customer: a server of your own has its operator"
)
_LOGS: Final = "the audit log is at GET /api/v1/audit: it is not streamed anywhere by this server"
_FLOWS: Final = "clients of this server do not report network flows"
_POSTURE: Final = "device posture integrations are not offered by this server"
_SERVICES: Final = "services (VIPs) are not offered by this server"
_INVITES: Final = "invitations are not offered: create the user, or let them log in"
_TAILNETS: Final = "this server has one tailnet"

# Method, path, scope, summary, why not.
_ROUTES: Final = (
    ("GET", "/tailnet/{tailnet}/contacts", read(ACCOUNT), "Get contacts", _CONTACTS),
    ("PATCH", "/tailnet/{tailnet}/contacts/{kind}", ACCOUNT, "Change a contact", _CONTACTS),
    (
        "POST",
        "/tailnet/{tailnet}/contacts/{kind}/resend-verification-email",
        ACCOUNT,
        "Verify a contact",
        _CONTACTS,
    ),
    ("GET", "/tailnet/{tailnet}/logging/configuration", LOGS_CONFIGURATION, "Read the audit log", _LOGS),
    ("GET", "/tailnet/{tailnet}/logging/network", LOGS_NETWORK, "Read network flows", _FLOWS),
    ("GET", "/tailnet/{tailnet}/logging/{kind}/stream", read(LOG_STREAMING), "Get a log's stream", _LOGS),
    ("PUT", "/tailnet/{tailnet}/logging/{kind}/stream", LOG_STREAMING, "Set a log's stream", _LOGS),
    ("DELETE", "/tailnet/{tailnet}/logging/{kind}/stream", LOG_STREAMING, "Stop a log's stream", _LOGS),
    (
        "GET",
        "/tailnet/{tailnet}/logging/{kind}/stream/status",
        read(LOG_STREAMING),
        "Look at a stream",
        _LOGS,
    ),
    ("POST", "/tailnet/{tailnet}/aws-external-id", LOG_STREAMING, "Make an AWS external ID", _LOGS),
    ("GET", "/tailnet/{tailnet}/posture/integrations", read(SETTINGS), "List integrations", _POSTURE),
    ("POST", "/tailnet/{tailnet}/posture/integrations", SETTINGS, "Create an integration", _POSTURE),
    ("GET", "/posture/integrations/{id}", read(SETTINGS), "Get an integration", _POSTURE),
    ("PATCH", "/posture/integrations/{id}", SETTINGS, "Change an integration", _POSTURE),
    ("DELETE", "/posture/integrations/{id}", SETTINGS, "Delete an integration", _POSTURE),
    ("GET", "/tailnet/{tailnet}/vip-services", read(DEVICES), "List services", _SERVICES),
    ("GET", "/tailnet/{tailnet}/vip-services/{name}", read(DEVICES), "Get a service", _SERVICES),
    ("PUT", "/tailnet/{tailnet}/vip-services/{name}", DEVICES, "Set a service", _SERVICES),
    ("DELETE", "/tailnet/{tailnet}/vip-services/{name}", DEVICES, "Delete a service", _SERVICES),
    ("GET", "/tailnet/{tailnet}/user-invites", read(USERS), "List invitations", _INVITES),
    ("POST", "/tailnet/{tailnet}/user-invites", USERS, "Invite users", _INVITES),
    ("GET", "/organizations/{organization}/tailnets", read(SETTINGS), "List tailnets", _TAILNETS),
    ("POST", "/organizations/{organization}/tailnets", SETTINGS, "Create a tailnet", _TAILNETS),
)

ENDPOINTS: Final[tuple[Endpoint[Any], ...]] = tuple(
    Endpoint(
        method=method, path=path, summary=f"{summary} (not offered)", handler=not_served(why), scopes=(scope,)
    )
    for method, path, scope, summary, why in _ROUTES
)
