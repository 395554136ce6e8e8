"""The listening socket: uvicorn under our own lifecycle, which drains in our own order."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
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

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._line is not None:
            self._line.close()
            self._line = None


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
        app,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        # Who is in front of us: limits of guessing are for each client, not for the proxy.
        forwarded_allow_ips=settings.trusted_proxies,
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


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run the process's main coroutine on uvloop, which halves the cost of a forwarded event."""
    # The writer to the database is a thread: the loop must not wait 5 ms for its turn.
    sys.setswitchinterval(_SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
