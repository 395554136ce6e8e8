"""The listening socket: uvicorn under our own lifecycle, which drains in our own order."""

import asyncio
import re
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import uvicorn
import uvloop
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from tokenyard.gateway.presence import LINE, Line
from tokenyard.runtime.settings import GatewaySettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.vocabulary.errors import StartError

T = TypeVar("T")
_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75
_CLOSE_SECONDS = 2
_SWITCH_SECONDS = 0.0005
_CONTENT_LENGTH = b"content-length"
# What no header may have in it, since it could begin another.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: signals belong to the process, not to the server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """uvicorn's, which also shows an application the connection that it answers on."""

    _line: Line | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._line = Line(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[LINE] = self._line  # type: ignore[literal-required]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            answer: Awaitable[None] = app(scope, receive, _AtOnce(cycle).send)
            return answer

        super()._start_asgi_task(cycle, serve)  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._line is not None:
            self._line.close()
            self._line = None


class _AtOnce:
    """Writes an answer that tells its length first, and comes in one piece, with its head at once.

    uvicorn looks at each header by itself, which took a sixteenth of a request's time. All that is
    not as plain is left to it.
    """

    __slots__ = ("_cycle", "_start")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """An ASGI message; the start of a plain answer is kept until its body is there."""
        start, self._start = self._start, None
        if start is None:
            headers = message.get("headers")
            if headers and headers[0][0] == _CONTENT_LENGTH:
                self._start = message
                return
        elif self._write(start, message):
            return
        else:
            await self._cycle.send(start)  # type: ignore[arg-type]
        await self._cycle.send(message)  # type: ignore[arg-type]

    def _write(self, start: Message, message: Message) -> bool:
        cycle, headers = self._cycle, start["headers"]
        body = message.get("body", b"")
        if (
            cycle.response_started
            or cycle.disconnected
            or cycle.flow.write_paused
            or not cycle.keep_alive
            or message.get("more_body", False)
            or headers[0][1] != b"%d" % len(body)
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        lines = [b"%b: %b" % header for header in (*cycle.default_headers, *headers)]
        told = b"".join(lines)
        if _CONTROL.search(told) or b"connection:" in told or b"transfer-encoding:" in told:
            return False
        head = STATUS_LINE[start["status"]] + b"\r\n".join(lines)
        cycle.transport.write(b"%b\r\n\r\n%b" % (head, body))
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        cycle.on_response()
        return True


class _SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, with the same for a WebSocket."""

    async def run_asgi(self) -> None:
        self.scope[LINE] = Line(self.transport)  # type: ignore[literal-required]
        await super().run_asgi()


def bind(settings: GatewaySettings) -> socket.socket:
    """Take the port; raises StartError in words when it is taken or not allowed."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
            "Stop what uses the port, or choose another one: `make up PORT=8401` "
            "(or `tokenyard up --port 8401`)."
        ) from None
    return listener


@dataclass(frozen=True, slots=True)
class Serving:
    """An application that is being served at `url`."""

    url: str
    _server: _Server

    def close_door(self) -> None:
        """Take no new connections; those that are there go on."""
        for listening in self._server.servers:
            listening.close()


@asynccontextmanager
async def serve(
    app: ASGIApp, listener: socket.socket, settings: GatewaySettings, tasks: TaskSupervisor
) -> AsyncIterator[Serving]:
    """Serve the application on that socket while the context lasts."""
    config = uvicorn.Config(
        # Who is in front of us: limits of guessing are for each client, not for the proxy.
        _behind(settings.trusted_proxies, app),
        proxy_headers=False,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        http=_Protocol,
        ws=_SocketProtocol,
        ws_max_size=settings.sockets.frame_bytes_max,
        ws_ping_interval=settings.sockets.ping_seconds,
        ws_ping_timeout=settings.sockets.pong_seconds,
        # It costs every connection more memory than all of its answers.
        ws_per_message_deflate=False,
        loop="none",
        limit_concurrency=settings.connections_max,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
    )
    server = _Server(config)
    serving = tasks.spawn("http server", server.serve(sockets=[listener]))
    host, port = listener.getsockname()[:2]
    try:
        yield Serving(f"http://{f'[{host}]' if ':' in host else host}:{port}", server)
    finally:
        server.should_exit = True
        await asyncio.wait({serving})
        listener.close()


def _behind(proxies: str, app: ASGIApp) -> ASGIApp:
    """The application for clients that come through these proxies, or by themselves."""
    told = ProxyHeadersMiddleware(app, proxies)  # type: ignore[arg-type]

    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # The addresses of all others need not be compared.
        for name, _ in scope["headers"]:
            if name.startswith(b"x-forwarded-"):
                return told(scope, receive, send)  # type: ignore[arg-type]
        return app(scope, receive, send)

    return serve


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run the process's main coroutine on uvloop, which halves the cost of a forwarded event."""
    # The writer to the database is a thread: the loop must not wait 5 ms for its turn.
    sys.setswitchinterval(_SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
