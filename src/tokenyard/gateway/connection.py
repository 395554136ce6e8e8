"""One connection's side of an answer: does the work while the reader is there, and notices its end.

Writes raw ASGI messages (asgiref spec 3.0): a framework's streaming response costs four times the
memory and CPU for each event.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from tokenyard.protocol.sse import CONTENT_TYPE, HEARTBEAT
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.vocabulary.errors import TokenyardError

T = TypeVar("T")
Abandon = Callable[[], Awaitable[None]]
# How long abandoned work may take to end by itself before it is cancelled.
ABANDONED_SECONDS = 5.0

_STREAM_HEADERS = {
    "content-type": CONTENT_TYPE,
    # `no-transform` and the nginx header keep proxies from holding tokens back.
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


# Where the server puts the connection of a request into its scope.
TRANSPORT = "tokenyard.transport"
# The first comment comes this early, so that a client knows that it was heard.
_FIRST_TICK_SECONDS = 1.0
# What the kernel and the loop may hold for one reader.
_SEND_BUFFER_BYTES = 64 * 1024


class ReaderGone(Exception):
    """The client closed the connection; there is nobody to answer."""


async def while_connected(
    work: Coroutine[Any, Any, T],
    receive: Receive,
    *,
    tasks: TaskSupervisor,
    name: str,
    abandon: Abandon | None,
    tick: Callable[[], Awaitable[float | None]] | None = None,
    tick_seconds: float | None = None,
) -> T:
    """Do the work and return its result; raises ReaderGone when the client leaves first.

    abandon: asked for then, so that the work ends by itself with its counts; without one the work
    is cancelled at once. tick: called when `tick_seconds` have passed; tells when to call it again,
    or None to give up the reader.
    """
    if tick is None:
        return await _while_watched(work, receive, tasks=tasks, name=name, abandon=abandon)
    working = tasks.spawn(name, work)
    watching = tasks.spawn(name, _wait_for_disconnect(receive))
    both: set[asyncio.Task[Any]] = {working, watching}
    bell = _Bell(both)
    try:
        while not await bell.rung(tick_seconds):
            if (tick_seconds := await tick()) is None:
                raise ReaderGone
        if working.done():
            return working.result()
        if abandon is not None:
            await abandon()
            await asyncio.wait({working}, timeout=ABANDONED_SECONDS)
        raise ReaderGone
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.wait(both)


async def _while_watched(
    work: Coroutine[Any, Any, T],
    receive: Receive,
    *,
    tasks: TaskSupervisor,
    name: str,
    abandon: Abandon | None,
) -> T:
    """The same without ticks: the work needs no task of its own, only who watches the reader."""
    working = asyncio.current_task()
    gone = over = False

    async def watch() -> None:
        nonlocal gone
        await _wait_for_disconnect(receive)
        gone = True
        if working is None:
            return
        if abandon is not None:
            await abandon()
            await asyncio.wait({working}, timeout=ABANDONED_SECONDS)
        if not over:
            working.cancel()

    watching = tasks.spawn(f"reader of {name}", watch())
    try:
        done = await work
    except asyncio.CancelledError:
        # Ours, unless somebody has cancelled this task beside us.
        if not gone or working is None or working.uncancel() > 0:
            raise
        raise ReaderGone from None
    except Exception as error:
        if gone:
            raise ReaderGone from error
        raise
    finally:
        over = True
        watching.cancel()
    if gone:
        raise ReaderGone
    return done


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
        self._headers = {**_STREAM_HEADERS, **(headers or {})}
        self._abandon = abandon
        self._closed = closed
        self._started = False
        self._spoke = False
        self._gone = False
        # Seconds of this connection, counted by its ticks.
        self._age = 0.0
        self._stalled = 0.0
        self._sending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        patience = self._patience
        transport: asyncio.Transport | None = scope.get(TRANSPORT)
        if transport is not None:
            limit_buffers(transport, patience.stall)
        pause = min(_FIRST_TICK_SECONDS, patience.heartbeat)

        async def beat() -> float | None:
            nonlocal pause
            self._age += pause
            self._stalled = self._stalled + pause if self._sending else 0.0
            if self._stalled >= patience.stall:
                self._closed("stalled")
                if transport is not None:
                    transport.abort()
                return None
            if self._sending:
                return pause
            if patience.life is not None and self._age >= patience.life:
                self._closed("lifetime")
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return None
            told = self._waiting()
            if self._started and (told is not None or not self._spoke):
                await self._send(send, told or HEARTBEAT)
            self._spoke = False
            pause = min(patience.heartbeat, patience.stall)
            if told is not None:
                pause = min(pause, _FIRST_TICK_SECONDS)
            return pause

        async def leave() -> None:
            self._gone = True
            if self._abandon is not None:
                await self._abandon()

        try:
            error = await while_connected(
                self._pump(send),
                receive,
                tasks=self._tasks,
                name=self._name,
                abandon=leave if self._abandon is not None else None,
                tick=beat,
                tick_seconds=pause,
            )
        except ReaderGone:
            return
        if error is not None:
            raise error

    async def _pump(self, send: Send) -> TokenyardError | None:
        """Send everything; returns an error that came before anything was sent."""
        try:
            async with aclosing(self._chunks) as chunks:
                while (chunk := await anext(chunks, None)) is not None:
                    if not self._gone:
                        await self._start(send)
                        self._spoke = True
                        await self._send(send, chunk)
                    # It would be kept until the next one comes, for every reader that waits.
                    del chunk
        except TokenyardError as error:
            if not self._started:
                return error
            raise
        if not self._gone:
            await self._start(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        return None

    async def _send(self, send: Send, chunk: bytes) -> None:
        self._sending = True
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._sending = False
        self._stalled = 0.0

    async def _start(self, send: Send) -> None:
        if self._started:
            return
        self._started = True
        headers = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


class _Bell:
    """Rings when the first of some tasks has ended; `asyncio.wait` takes thrice the memory."""

    __slots__ = ("_ended", "_loop", "_waiting")

    def __init__(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = False
        self._waiting: asyncio.Future[None] | None = None
        for task in tasks:
            task.add_done_callback(self._ring)

    async def rung(self, seconds: float | None) -> bool:
        """Wait for it, but no longer than that; whether it has rung."""
        if not self._ended:
            self._waiting = self._loop.create_future()
            timer = None if seconds is None else self._loop.call_later(seconds, self._wake)
            try:
                await self._waiting
            finally:
                self._waiting = None
                if timer is not None:
                    timer.cancel()
        return self._ended

    def _ring(self, task: asyncio.Task[Any]) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


async def _wait_for_disconnect(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return


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
