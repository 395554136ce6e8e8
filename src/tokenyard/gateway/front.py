"""The outermost layer: request ids, security headers, errors as OpenAI bodies, metrics, the log.

One pure ASGI function around everything; it never touches a body.
"""

import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenyard import __version__
from tokenyard.gateway.doorway import HEADERS
from tokenyard.gateway.operation import json_answer
from tokenyard.gateway.presence import ReaderGone
from tokenyard.protocol.errors import error_response
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness, mint
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TokenyardError,
)
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import IdPrefix

_SECURITY = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-tokenyard-build": __version__,
}
_SECURITY_HEADERS = [(name.encode(), value.encode()) for name, value in _SECURITY.items()]
_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,512}")
_CLIENT_GONE = 499
# Where in the state of a request its answer is, once it is found.
ANSWER = "answer"


class Front:
    """Wraps the router."""

    def __init__(
        self,
        router: ASGIApp,
        *,
        clock: Clock,
        randomness: Randomness,
        metrics: GatewayMetrics,
        log: Log,
    ) -> None:
        self._router = router
        self._clock = clock
        self._randomness = randomness
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = self._clock.monotonic()
        request_id = mint(IdPrefix.REQUEST, self._randomness)
        scope["state"] = {"request_id": request_id}
        # Makes the router raise for a wrong method instead of answering in plain text.
        scope["app"] = self
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), *_SECURITY_HEADERS]
                headers.append((b"x-request-id", request_id.encode()))
                message = {**message, "headers": headers}
            await send(message)

        failure: BaseException | None = None
        try:
            await self._router(scope, receive, send_with_headers)
            # Given from here, so that nothing of what has found it is kept as long as it lasts.
            scope["state"].pop(HEADERS, None)
            answer: ASGIApp | None = scope["state"].pop(ANSWER, None)
            if answer is not None:
                await answer(scope, receive, send_with_headers)
        except ReaderGone:
            status = status or _CLIENT_GONE
        except Exception as error:  # every failure becomes an answer, and a line in the log
            failure = _translate(error)
            if not status:
                code, body, headers = error_response(failure)
                refusal = json_answer(body, status=code, headers=headers)
                await refusal(scope, receive, send_with_headers)
        self._note(scope, request_id, status, began, failure)

    def _note(
        self,
        scope: Scope,
        request_id: str,
        status: int,
        began: float,
        failure: BaseException | None,
    ) -> None:
        state = scope["state"]
        route = state.get("route", "none")
        state["status"], state["failure"] = status, failure
        self._metrics.requests.labels(route, str(status)).inc()
        fields: dict[str, Any] = {
            "request": request_id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "seconds": round(self._clock.monotonic() - began, 4),
        }
        caller: Principal | None = state.get("caller")
        if caller is not None:
            fields["organisation"], fields["project"] = caller.organisation, caller.project
            fields["user"], fields["key"] = caller.user, caller.key
        if isinstance(failure, TokenyardError) and status < 500:
            self._log.info(Event.REQUEST_DONE, **fields, reason=failure.reason)
        elif failure is not None:
            self._log.error(Event.REQUEST_FAILED, failure, **fields)
        else:
            self._log.info(Event.REQUEST_DONE, **fields)


def _translate(error: Exception) -> Exception:
    """The router's own refusals as errors of ours."""
    if isinstance(error, HTTPException):
        if error.status_code == 404:
            return NotFound("There is nothing at this address.")
        if error.status_code == 405:
            return MethodNotAllowed("This address does not know that method.")
        return InvalidRequest(str(error.detail))
    return error
