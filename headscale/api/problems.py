"""Errors as RFC 7807 problem documents, in the shape that the peer's clients read."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from headscale.errors import HeadscaleError
from headscale.policy.complaints import Complaint, PolicyRefused

log = logging.getLogger(__name__)

PROBLEM_TYPE: Final = "application/problem+json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    """One complaint; in a policy also where: a path, and line and column from 1."""

    message: str
    location: str = ""
    line: int = 0
    column: int = 0


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
    except PolicyRefused as refusal:
        return problem(refusal.status, str(refusal), tuple(map(_detail, refusal.complaints)))
    except HeadscaleError as refusal:
        return problem(refusal.status, str(refusal))
    except web.HTTPException as answer:
        return problem(HTTPStatus(answer.status), answer.text or answer.reason)
    except Exception:
        log.exception("request failed method=%s path=%s", request.method, request.path)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error: the server's log has the cause")


def problem(status: HTTPStatus, message: str, errors: tuple[Detail, ...] = ()) -> web.Response:
    """The problem document for one complaint, or for several that the message sums up."""
    document = Problem(status.phrase, status.value, message, errors or (Detail(message),))
    return web.Response(status=status.value, body=msgspec.json.encode(document), content_type=PROBLEM_TYPE)


def _detail(complaint: Complaint) -> Detail:
    return Detail(complaint.message, complaint.path, complaint.line, complaint.column)
