"""Errors as OpenAI error bodies: the one place where our error tree meets the wire.

Source: the `ErrorResponse` schema of the OpenAI API reference.
"""

import math

import msgspec

from tokenyard.vocabulary.errors import InternalFailure, TokenyardError
from tokenyard.vocabulary.reasons import Reason

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    426: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


class ErrorBody(msgspec.Struct):
    """What went wrong: a sentence, a class of error, the field at fault and the named reason."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(msgspec.Struct):
    """The body of every answer with a status of 400 and above."""

    error: ErrorBody


def error_response(error: BaseException) -> tuple[int, ErrorResponse, dict[str, str]]:
    """Status, body and extra headers for an error; what is not ours becomes a plain 500."""
    if not isinstance(error, TokenyardError):
        error = InternalFailure("Something broke on our side. The request id names it in the log.")
    body = ErrorBody(
        message=error.message,
        type=_TYPES.get(error.status, "server_error"),
        param=error.param,
        code=error.reason,
    )
    headers = dict(error.headers)
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds)))
    if error.reason is Reason.SHUTTING_DOWN:
        # Whoever tries again does so on a new connection, and with that reaches another gateway.
        headers["connection"] = "close"
    return error.status, ErrorResponse(error=body), headers
