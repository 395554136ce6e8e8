"""The one tree of errors.

    TokenyardError
    ├── InvalidRequest         400  the caller must change the request
    │   └── BodyTooLarge       413
    ├── Unauthenticated        401  no credentials, or wrong ones
    ├── Forbidden              403  known, but not allowed
    ├── NotFound               404  no such object for this caller
    ├── MethodNotAllowed       405
    ├── Conflict               409  the object is in another state
    ├── UpgradeRequired        426  the address speaks another protocol
    ├── LimitReached           429  a limit of the caller's; says when to come back
    ├── InternalFailure        500  our fault
    ├── UpstreamFailed         502  a model server answered wrongly or died
    ├── Unavailable            503  a limit of the system's, or not ready yet
    └── StartError              -   the process cannot start; the message says what to do

Every error has a named `reason`; `param` names the field at fault where there is one. They become
OpenAI error bodies in `protocol.errors` and nowhere else.
"""

from collections.abc import Mapping

from tokenyard.vocabulary.reasons import Reason


class TokenyardError(Exception):
    """Base of all errors that are ours to explain."""

    status: int = 500
    default_reason: Reason = Reason.INTERNAL_ERROR

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        # What the answer tells beside the sentence, such as what is left of limits.
        self.headers = headers or {}


class InvalidRequest(TokenyardError):
    """The request is malformed, out of range or cannot be served as asked."""

    status = 400
    default_reason = Reason.INVALID_VALUE


class BodyTooLarge(InvalidRequest):
    """The body is longer than the limit named in the message."""

    status = 413
    default_reason = Reason.BODY_TOO_LARGE


class Unauthenticated(TokenyardError):
    """No credentials, or credentials that do not hold."""

    status = 401
    default_reason = Reason.INVALID_API_KEY


class Forbidden(TokenyardError):
    """The caller is known and may not do this."""

    status = 403
    default_reason = Reason.FOREIGN_ORIGIN


class NotFound(TokenyardError):
    """No such object for this caller; also the answer for objects of other tenants."""

    status = 404
    default_reason = Reason.NOT_FOUND


class MethodNotAllowed(TokenyardError):
    """The path exists, the method on it does not."""

    status = 405
    default_reason = Reason.METHOD_NOT_ALLOWED


class Conflict(TokenyardError):
    """The object is in a state that does not allow this."""

    status = 409
    default_reason = Reason.CONVERSATION_BUSY


class UpgradeRequired(TokenyardError):
    """The address is that of a WebSocket, and was asked without the upgrade."""

    status = 426
    default_reason = Reason.UPGRADE_REQUIRED


class LimitReached(TokenyardError):
    """A limit of the caller's; `retry_after_seconds` says when it is worth trying again."""

    status = 429
    default_reason = Reason.RATE_LIMIT_REQUESTS


class InternalFailure(TokenyardError):
    """Something of ours broke."""

    status = 500
    default_reason = Reason.INTERNAL_ERROR


class UpstreamFailed(TokenyardError):
    """A model server died, hung or answered something that is not its protocol."""

    status = 502
    default_reason = Reason.UPSTREAM_FAILED


class Unavailable(TokenyardError):
    """The system as a whole cannot take this now: loading, full or stopping."""

    status = 503
    default_reason = Reason.SYSTEM_OVERLOADED


class StartError(TokenyardError):
    """The process cannot start; the message says what to do about it."""
