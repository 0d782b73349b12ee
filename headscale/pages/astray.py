"""What a browser shows at the address alone, and where there is nothing to show or something went wrong.

Programs go on getting what they know: only who asks for HTML is given a page.
"""

import html
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import hdrs, web

from headscale.errors import HeadscaleError
from headscale.pages.page import blank, page

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_WORDS: Final = {
    HTTPStatus.NOT_FOUND: (
        "There is no such page",
        "Check the address. The address of a login is shown by the device that asks, and serves once.",
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: ("This page takes no such request", "Go back and try it from the start."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("That was too much", "Nothing here takes so long a text."),
}
_OTHERS: Final = ("This did not work", "Go back and try it from the start.")
_OURS: Final = (
    "Something went wrong here",
    "It is not your fault. Try again; if it stays so, tell whoever runs this server. Its log has the reason.",
)


async def root(request: web.Request) -> web.Response:
    """Nothing: who runs this says so elsewhere."""
    return blank()


@web.middleware
async def astray(request: web.Request, handler: Handler) -> Any:
    """A middleware: what ends badly is a page to people, and to programs what it always was."""
    if "text/html" not in request.headers.get(hdrs.ACCEPT, ""):
        return await handler(request)
    try:
        return await handler(request)
    except web.HTTPException as answer:
        if answer.status < HTTPStatus.BAD_REQUEST:
            raise
        title, text = _WORDS.get(HTTPStatus(answer.status), _OTHERS)
        made = page(title, f"<p>{text}</p>", HTTPStatus(answer.status))
        if hdrs.ALLOW in answer.headers:
            made.headers[hdrs.ALLOW] = answer.headers[hdrs.ALLOW]
        return made
    except HeadscaleError as problem:
        return page(_OTHERS[0], f"<p>{html.escape(str(problem))}</p>", problem.status)
    except Exception:
        log.exception("a page failed method=%s route=%s", request.method, request.match_info.route.resource)
        title, text = _OURS
        return page(title, f"<p>{text}</p>", HTTPStatus.INTERNAL_SERVER_ERROR)
