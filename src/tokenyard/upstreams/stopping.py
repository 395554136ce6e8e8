"""Calls in progress that can be stopped from outside while they wait for a model server.

For servers that have no call of their own for it: their streams are left, and then closed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Left(Exception):
    """The call was stopped; it is not that it broke."""


class StoppableCall:
    """One call in progress."""

    def __init__(self) -> None:
        self.stopped = False
        self._cancelled = False
        self._hang_up: Callable[[], None] | None = None
        self._waiting: asyncio.Task[object] | None = None

    async def run(self, work: Awaitable[T]) -> T | None:
        """The result, or None when the call was stopped before it was there."""
        waiting = self._waiting = asyncio.current_task()
        try:
            return await work
        except asyncio.CancelledError:
            # Ours, unless somebody has cancelled the task beside us (as in `asyncio.timeout`).
            if waiting is None or not self._cancelled or waiting.uncancel() > 0:
                raise
            return None
        finally:
            self._waiting = None

    def leave_by(self, hang_up: Callable[[], None]) -> None:
        """From now on it is stopped by that, and need not be waited for in `run`."""
        self._hang_up = hang_up

    def stop(self) -> None:
        """Leave it as it stands."""
        self.stopped = True
        if self._hang_up is not None:
            self._hang_up()
            return
        if self._waiting is not None and not self._cancelled:
            self._cancelled = True
            self._waiting.cancel()


class StoppableCalls:
    """The calls of one server, by request id."""

    def __init__(self) -> None:
        self._calls: dict[str, StoppableCall] = {}

    @contextmanager
    def watch(self, request_id: str) -> Iterator[StoppableCall]:
        """A call that can be stopped while the block lasts."""
        watched = self._calls[request_id] = StoppableCall()
        try:
            yield watched
        finally:
            if self._calls.get(request_id) is watched:
                del self._calls[request_id]

    def stop(self, request_id: str) -> None:
        """Stop the call of that id, if there is one."""
        watched = self._calls.get(request_id)
        if watched is not None:
            watched.stop()
