"""All WebSockets of one gateway: who may connect, how many, and how they end when it stops."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenyard.chat.reading import Readings
from tokenyard.gateway.connection import limit_buffers
from tokenyard.gateway.doorway import Doorway
from tokenyard.gateway.operation import json_answer
from tokenyard.gateway.presence import LINE, Line
from tokenyard.gateway.sockets.connection import DRAINING, Socket, Temper
from tokenyard.gateway.sockets.inner import SECRET_PROTOCOL, Inner
from tokenyard.gateway.sockets.lane import PATH, LaneParts
from tokenyard.gateway.sockets.wire import Wire
from tokenyard.protocol.errors import error_response
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.randomness import Randomness
from tokenyard.runtime.settings import GatewaySettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import NotFound, TokenyardError, Unavailable
from tokenyard.vocabulary.identity import Permission
from tokenyard.vocabulary.reasons import Reason

# How long a client waits before it comes back, drawn for each connection.
_RETRY_MS_MIN, _RETRY_MS_MAX = 250, 2_000


class Sockets:
    """An ASGI application for scopes of the type `websocket`. front: serves the inner requests."""

    def __init__(
        self,
        front: ASGIApp,
        settings: GatewaySettings,
        *,
        doorway: Doorway,
        readings: Readings,
        tasks: TaskSupervisor,
        clock: Clock,
        randomness: Randomness,
        metrics: GatewayMetrics,
    ) -> None:
        self._front = front
        self._settings = settings.sockets
        self._stall_seconds = settings.reader_stall_seconds
        self._doorway = doorway
        self._readings = readings
        self._tasks = tasks
        self._clock = clock
        self._randomness = randomness
        self._metrics = metrics
        self._open: set[Socket] = set()
        self._closed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        inner = Inner(self._front, scope)
        try:
            await self._admit(scope, inner)
        except TokenyardError as error:
            await self._deny(error, send)
            return
        await send({"type": "websocket.accept", "subprotocol": _agreed(scope["subprotocols"])})
        self._metrics.requests.labels(PATH, "101").inc()
        line: Line | None = scope.get(LINE)
        transport = None if line is None else line.transport
        if transport is not None:
            limit_buffers(transport, self._stall_seconds)
        parts = LaneParts(
            inner=inner,
            wire=Wire(send, transport, self._clock),
            readings=self._readings,
            settings=self._settings,
            clock=self._clock,
            metrics=self._metrics,
        )
        socket = Socket(parts, receive, tasks=self._tasks, temper=self._draw())
        self._open.add(socket)
        self._metrics.sockets.set(len(self._open))
        try:
            await socket.run()
        finally:
            self._open.discard(socket)
            self._metrics.sockets.set(len(self._open))

    async def drain(self) -> None:
        """Accept none any more; those with answers on them stay until these have ended."""
        self._closed = True
        for socket in [*self._open]:
            await socket.drain()

    async def close(self) -> None:
        """Close what is open; whoever comes back finds another gateway, and reads on there."""
        for socket in [*self._open]:
            await socket.close(DRAINING, "draining")

    async def _admit(self, scope: Scope, inner: Inner) -> None:
        if scope["path"] != PATH:
            raise NotFound("There is no WebSocket at this address.")
        if self._closed:
            raise Unavailable("The server is stopping.", reason=Reason.SHUTTING_DOWN)
        most = self._settings.connections_max
        if len(self._open) >= most:
            raise Unavailable(
                f"The server has {most} WebSockets, which is its limit.",
                reason=Reason.SOCKETS_LIMIT,
            )
        # With the method of what will be asked over it: a cookie counts on our own pages only.
        asked = inner.scope("POST", PATH)
        asked["state"] = {"permission": Permission.INFERENCE}
        await self._doorway.caller(Request(asked))

    async def _deny(self, error: TokenyardError, send: Send) -> None:
        status, body, headers = error_response(error)
        self._metrics.requests.labels(PATH, str(status)).inc()
        answer = json_answer(body, status=status, headers=headers)
        start = {"type": "websocket.http.response.start", "status": status}
        await send({**start, "headers": answer.raw_headers})
        await send({"type": "websocket.http.response.body", "body": bytes(answer.body)})

    def _draw(self) -> Temper:
        life, retry = (int.from_bytes(self._randomness.bytes(2), "big") / 0xFFFF for _ in range(2))
        return Temper(
            life_seconds=self._settings.seconds_max * (0.8 + 0.4 * life),
            stall_seconds=self._stall_seconds,
            retry_ms=round(_RETRY_MS_MIN + retry * (_RETRY_MS_MAX - _RETRY_MS_MIN)),
        )


def _agreed(offered: list[str]) -> str | None:
    """A browser that offers subprotocols wants one of them back; a key is not told again."""
    return next((one for one in offered if not one.startswith(SECRET_PROTOCOL)), None)
