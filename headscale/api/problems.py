"""Errors as RFC 7807 problem documents, in the shape that the peer's clients read."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from headscale.errors import HeadscaleError

log = logging.getLogger(__name__)

PROBLEM_TYPE: Final = "application/problem+json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Detail(msgspec.Struct, frozen=True):
    """One complaint."""

    message: str


class Problem(msgspec.Struct, frozen=True):
    """An error answer: `title` names the status, `detail` says what went wrong."""

    title: str
    status: int
    detail: str
    errors: tuple[Detail, ...]


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Translate our errors, aiohttp's and bugs to problem documents; a bug's text stays in the log."""
    try:
        return await handler(request)
    except HeadscaleError as refusal:
        return problem(refusal.status, str(refusal))
    except web.HTTPException as answer:
        return problem(HTTPStatus(answer.status), answer.text or answer.reason)
    except Exception:
        log.exception("request failed method=%s path=%s", request.method, request.path)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error: the server's log has the cause")


def problem(status: HTTPStatus, message: str) -> web.Response:
    """The problem document for one complaint."""
    document = Problem(status.phrase, status.value, message, (Detail(message),))
    return web.Response(status=status.value, body=msgspec.json.encode(document), content_type=PROBLEM_TYPE)
