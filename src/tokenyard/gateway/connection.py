"""One connection's side of an answer: does the work while the reader is there, and notices its end.

Writes raw ASGI messages (asgiref spec 3.0): a framework's streaming response costs four times the
memory and CPU for each event.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
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


class ReaderGone(Exception):
    """The client closed the connection; there is nobody to answer."""


async def while_connected(
    work: Coroutine[Any, Any, T],
    receive: Receive,
    *,
    tasks: TaskSupervisor,
    name: str,
    abandon: Abandon | None,
    tick: Callable[[], Awaitable[None]] | None = None,
    tick_seconds: float | None = None,
) -> T:
    """Do the work and return its result; raises ReaderGone when the client leaves first.

    abandon: asked for then, so that the work ends by itself with its counts; without one the work
    is cancelled at once. tick: called whenever `tick_seconds` pass.
    """
    working = tasks.spawn(name, work)
    watching = tasks.spawn(f"reader of {name}", _wait_for_disconnect(receive))
    both: set[asyncio.Task[Any]] = {working, watching}
    try:
        while True:
            done, _ = await asyncio.wait(
                both, timeout=tick_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                break
            if tick is not None:
                await tick()
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


class EventStream:
    """An ASGI answer that sends server-sent events as they come.

    Errors of ours that come before the first event are raised, and become an ordinary error answer.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        name: str,
        tasks: TaskSupervisor,
        heartbeat_seconds: float,
        headers: Mapping[str, str] | None = None,
        abandon: Abandon | None = None,
    ) -> None:
        self._chunks = chunks
        self._name = name
        self._tasks = tasks
        self._heartbeat_seconds = heartbeat_seconds
        self._headers = {**_STREAM_HEADERS, **(headers or {})}
        self._abandon = abandon
        self._started = False
        self._spoke = False
        self._gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def beat() -> None:
            if self._started and not self._spoke:
                await send({"type": "http.response.body", "body": HEARTBEAT, "more_body": True})
            self._spoke = False

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
                tick_seconds=self._heartbeat_seconds,
            )
        except ReaderGone:
            return
        if error is not None:
            raise error

    async def _pump(self, send: Send) -> TokenyardError | None:
        """Send everything; returns an error that came before anything was sent."""
        try:
            async with aclosing(self._chunks) as chunks:
                async for chunk in chunks:
                    if self._gone:
                        continue
                    await self._start(send)
                    self._spoke = True
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TokenyardError as error:
            if not self._started:
                return error
            raise
        if not self._gone:
            await self._start(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        return None

    async def _start(self, send: Send) -> None:
        if self._started:
            return
        self._started = True
        headers = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _wait_for_disconnect(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
