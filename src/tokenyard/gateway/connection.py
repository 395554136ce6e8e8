"""How server-sent events get to one reader: as they come, kept alive, and cut off when it stalls.

Writes raw ASGI messages (asgiref spec 3.0), in the one task that the server has for a request: a
framework's streaming response costs four times the memory and CPU for each event.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from tokenyard.gateway.presence import LINE, Abandon, Line, Presence, ReaderGone
from tokenyard.protocol.sse import CONTENT_TYPE, HEARTBEAT
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.vocabulary.errors import TokenyardError

_STREAM_HEADERS = {
    "content-type": CONTENT_TYPE,
    # `no-transform` and the nginx header keep proxies from holding tokens back.
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


# The first comment comes this early, so that a client knows that it was heard.
_FIRST_TICK_SECONDS = 1.0
# What the kernel and the loop may hold for one reader.
_SEND_BUFFER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection is kept. All of it in seconds.

    heartbeat: a comment is sent after so long a silence, the first one after a second. stall: a
    reader that takes nothing for this long is cut off. life: of the whole connection, None for as
    long as it likes.
    """

    heartbeat: float
    stall: float = 30.0
    life: float | None = None


class EventStream:
    """An ASGI answer that sends server-sent events as they come.

    Errors of ours that come before the first event are raised, and become an ordinary error answer.
    A reader that stalls is cut off from outside the writing that it holds up: what waits for it is
    the kernel's small buffer and one batch of events, never a queue. waiting: the comment for a
    reader who waits for the first words, sent each second; None once there is nothing to tell.
    """

    __slots__ = (
        "_age", "_beating", "_chunks", "_closed", "_headers", "_line", "_name", "_patience",
        "_pause", "_reader", "_send", "_sending", "_spoke", "_stalled", "_started", "_tasks",
        "_timer", "_waiting",
    )  # fmt: skip

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        name: str,
        tasks: TaskSupervisor,
        patience: Patience,
        headers: Mapping[str, str] | None = None,
        abandon: Abandon | None = None,
        closed: Callable[[str], None] = lambda reason: None,
        waiting: Callable[[], bytes | None] = lambda: None,
    ) -> None:
        self._chunks = chunks
        self._waiting = waiting
        self._name = name
        self._tasks = tasks
        self._patience = patience
        self._headers = headers or {}
        self._closed = closed
        self._reader = Presence[TokenyardError | None](tasks, name, abandon)
        self._started = False
        self._spoke = False
        # Seconds of this connection, counted by its ticks.
        self._age = 0.0
        self._stalled = 0.0
        self._sending = False
        self._pause = min(_FIRST_TICK_SECONDS, patience.heartbeat)
        self._timer: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None
        self._line: Line | None = None
        self._send: Send

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        self._line = scope.get(LINE)
        if self._line is not None:
            limit_buffers(self._line.transport, self._patience.stall)
        self._wait()
        try:
            error = await self._reader.keep(self._pump(), scope, receive)
        except ReaderGone:
            return
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._beating is not None:
                self._beating.cancel()
        if error is not None:
            raise error

    async def _pump(self) -> TokenyardError | None:
        """Send everything; returns an error that came before anything was sent."""
        try:
            async for chunk in self._chunks:
                if not self._reader.gone:
                    await self._start()
                    self._spoke = True
                    await self._write(chunk)
                # It would be kept until the next one comes, for every reader that waits.
                del chunk
        except TokenyardError as error:
            if not self._started:
                return error
            raise
        finally:
            await self._chunks.aclose()
        if not self._reader.gone:
            await self._start()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        return None

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._pause, self._tick)

    def _tick(self) -> None:
        """Some time has passed: cut a reader off that takes nothing, or show that we are here."""
        self._age += self._pause
        self._stalled = self._stalled + self._pause if self._sending else 0.0
        if self._stalled >= self._patience.stall:
            self._closed("stalled")
            if self._line is not None:
                self._line.transport.abort()
            self._reader.give_up()
        elif self._sending:
            self._wait()
        else:
            self._beating = self._tasks.spawn(f"beat of {self._name}", self._beat())

    async def _beat(self) -> None:
        patience = self._patience
        if patience.life is not None and self._age >= patience.life:
            self._closed("lifetime")
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            self._reader.give_up()
            return
        told = self._waiting()
        if self._started and (told is not None or not self._spoke):
            await self._write(told or HEARTBEAT)
        self._spoke = False
        self._pause = min(patience.heartbeat, patience.stall)
        if told is not None:
            self._pause = min(self._pause, _FIRST_TICK_SECONDS)
        self._beating = None
        self._wait()

    async def _write(self, chunk: bytes) -> None:
        self._sending = True
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._sending = False
        self._stalled = 0.0

    async def _start(self) -> None:
        if self._started:
            return
        self._started = True
        told = {**_STREAM_HEADERS, **self._headers}
        headers = [(name.encode(), value.encode()) for name, value in told.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})


def limit_buffers(transport: asyncio.Transport, stall_seconds: float) -> None:
    """Bound what is held for a reader that takes nothing, and notice one that has vanished."""
    transport.set_write_buffer_limits(high=_SEND_BUFFER_BYTES)
    line = transport.get_extra_info("socket")
    if line is None or line.family not in (socket.AF_INET, socket.AF_INET6):
        return
    # The loop's own view of the socket cannot set options; a twin of it can.
    with socket.socket(fileno=os.dup(line.fileno())) as twin:
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = int(stall_seconds * 1000)
            twin.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
