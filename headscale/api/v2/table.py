"""Every route of REST v2, a noun at a time."""

from typing import Any, Final

from headscale.api.v2 import devices
from headscale.api.v2.endpoints import Endpoint

ENDPOINTS: Final[tuple[Endpoint[Any], ...]] = (*devices.ENDPOINTS,)
