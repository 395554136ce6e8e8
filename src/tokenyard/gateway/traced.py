"""A span around each request, outside of everything else; only where somebody collects traces."""

from starlette.types import ASGIApp, Receive, Scope, Send

from tokenyard.gateway.sockets.inner import INNER_APP
from tokenyard.protocol.errors import error_response
from tokenyard.telemetry.tracing import Tracing


class Traced:
    """Wraps the whole application; `front` leaves in the request's state how it ended."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # What is asked over a WebSocket has spans of its own.
            await self._app({**scope, INNER_APP: self}, receive, send)
            return
        with self._tracing.request(scope["method"], scope["path"], scope["headers"]) as span:
            await self._app(scope, receive, send)
            state = scope["state"]
            failure = state["failure"]
            reason = None if failure is None else error_response(failure)[1].error.code
            span.answered(state.get("route", "none"), state["status"], reason)
