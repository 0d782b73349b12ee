"""Bounds of single fields of a request.

What one client sends is passed on to others, whose Go types are narrow: one key, number or address that they
cannot read makes them drop the whole message, map and all. So it is refused where it comes in.
"""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from headscale.keys import ZERO_DISCO_KEY, ZERO_NODE_KEY, WireDiscoKey, WireNodeKey

# Go's int on a 32-bit machine; today's versions are below 200.
VERSION_MAX: Final = 2**31 - 1
# A region's number is also written where an address has its port.
REGION_MAX: Final = 65535
PORT_MAX: Final = 65535

# The pattern's `$` lets a final line break pass; the length does not.
NodeKeyText = Annotated[WireNodeKey, Meta(max_length=len(ZERO_NODE_KEY))]
DiscoKeyText = Annotated[WireDiscoKey, Meta(max_length=len(ZERO_DISCO_KEY))]
Version = Annotated[int, Meta(ge=0, le=VERSION_MAX)]
RegionId = Annotated[int, Meta(ge=0, le=REGION_MAX)]
Port = Annotated[int, Meta(ge=0, le=PORT_MAX)]
# Go's AddrPort, whose zero value is an empty text; which of them peers can dial, the state decides.
Endpoint = Annotated[str, Meta(pattern=r"\A(\Z|[^\[\]:]+:[0-9]{1,5}\Z|\[[^\[\]]+\]:[0-9]{1,5}\Z)")]
# A time without a zone cannot be compared with ours.
Moment = Annotated[datetime, Meta(tz=True)]
