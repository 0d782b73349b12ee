"""Errors in the shape that each version's clients read: v1 answers RFC 7807 problem documents, v2 a message."""

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
V2: Final = "/api/v2/"

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


class Trouble(msgspec.Struct, frozen=True):
    """Several complaints of one thing, as v2 has them."""

    errors: tuple[str, ...]


class ErrorAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error answer of v2."""

    message: str
    status: int
    data: tuple[Trouble, ...] = ()


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Translate our errors, aiohttp's and bugs to documents; a bug's text stays in the log."""
    try:
        return await handler(request)
    except PolicyRefused as refusal:
        return problem(request, refusal.status, str(refusal), tuple(map(_detail, refusal.complaints)))
    except HeadscaleError as refusal:
        return problem(request, refusal.status, str(refusal))
    except web.HTTPException as answer:
        return problem(request, HTTPStatus(answer.status), answer.text or answer.reason)
    except Exception:
        log.exception("request failed method=%s path=%s", request.method, request.path)
        text = "internal error: the server's log has the cause"
        return problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, text)


def problem(
    request: web.Request, status: HTTPStatus, message: str, errors: tuple[Detail, ...] = ()
) -> web.Response:
    """The document for one complaint, or for several that the message sums up."""
    if is_v2(request):
        data = (Trouble(tuple(error.message for error in errors)),) if errors else ()
        told = msgspec.json.encode(ErrorAnswer(message, status.value, data))
        return web.Response(status=status.value, body=told, content_type="application/json")
    document = Problem(status.phrase, status.value, message, errors or (Detail(message),))
    return web.Response(status=status.value, body=msgspec.json.encode(document), content_type=PROBLEM_TYPE)


def is_v2(request: web.Request) -> bool:
    """Whether the request is one to v2: by its route, or where there is none by its path."""
    resource = request.match_info.route.resource
    return (resource.canonical if resource is not None else request.path).startswith(V2)


def _detail(complaint: Complaint) -> Detail:
    return Detail(complaint.message, complaint.path, complaint.line, complaint.column)
