"""Every exception that we raise on purpose, in one tree.

The text of each is written for the person or client at the other end: it names the value and what was
expected, and never carries a secret. The edges translate once: the REST API to a status code, the
control channel to `RegisterResponse.Error` or an HTTP status. A bug is an ordinary exception.
"""

from http import HTTPStatus
from typing import ClassVar


class HeadscaleError(Exception):
    """Something that may be told to the peer as it stands; `status` is how HTTP says it."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR


class Malformed(HeadscaleError):
    """The peer broke the protocol or sent a value that is not one (HTTP 400)."""

    status = HTTPStatus.BAD_REQUEST


class Refused(HeadscaleError):
    """Well formed, but the peer may not have it (HTTP 401 or 403)."""

    status = HTTPStatus.FORBIDDEN


class NotFound(HeadscaleError):
    """What was named does not exist (HTTP 404)."""

    status = HTTPStatus.NOT_FOUND


class Conflict(HeadscaleError):
    """What was asked clashes with what is there (HTTP 409)."""

    status = HTTPStatus.CONFLICT


class Outdated(HeadscaleError):
    """The caller knows an older version of what it would change (HTTP 412)."""

    status = HTTPStatus.PRECONDITION_FAILED


class TooMany(HeadscaleError):
    """The peer has as much of this as one peer may (HTTP 429)."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class Unavailable(HeadscaleError):
    """We cannot do it now, and nothing was changed (HTTP 503)."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class InDoubt(Unavailable):
    """The database went away before it said whether it took the change (HTTP 503)."""
