"""What the sender of a request may do, as the door found it."""

from typing import Final

from aiohttp import web

from headscale.state.scopes import Grant

GRANT: Final = web.RequestKey("grant", Grant)
