"""Supervised tasks: every background task has an owner, a name, and an end that somebody hears of.

`asyncio.create_task` is called here and nowhere else: a task whose failure nobody awaits would
otherwise die in silence.
"""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
Failed = Callable[[str, BaseException], None]


class TaskSupervisor:
    """Owns a set of tasks; closing it cancels and awaits them all.

    failed: called with the task's name and its exception when one ends badly. Cancellation is not
    a failure.
    """

    def __init__(self, failed: Failed) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start a task; raises RuntimeError once the supervisor is closed."""
        if self._closed:
            coroutine.close()
            raise RuntimeError(f"cannot start task {name!r}: the supervisor is closed")
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    @property
    def running(self) -> int:
        return len(self._tasks)

    @staticmethod
    async def end(task: "asyncio.Task[Any]") -> None:
        """Cancel one task and wait until it has ended."""
        task.cancel()
        await asyncio.wait({task})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel what still runs and wait until all of it has ended."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _reap(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._failed(task.get_name(), error)
