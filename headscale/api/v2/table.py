"""Every route of REST v2, a noun at a time."""

from typing import Any, Final

from headscale.api.v2 import (
    attributes,
    devices,
    dns,
    keys,
    oauth,
    policyfile,
    refused,
    settings,
    users,
    webhooks,
)
from headscale.api.v2.endpoints import Endpoint

ENDPOINTS: Final[tuple[Endpoint[Any], ...]] = (
    *devices.ENDPOINTS,
    *policyfile.ENDPOINTS,
    *dns.ENDPOINTS,
    *settings.ENDPOINTS,
    *webhooks.ENDPOINTS,
    *refused.ENDPOINTS,
    *attributes.ENDPOINTS,
    *users.ENDPOINTS,
    *keys.ENDPOINTS,
    *oauth.ENDPOINTS,
)
