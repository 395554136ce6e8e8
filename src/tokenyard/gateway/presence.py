"""Whether the reader of an answer is still there: what is done for it ends when it leaves.

No task watches a connection that the server shows: it tells by itself when it is closed. Requests
that come another way are watched by asking for their next message. Knows nothing of answers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from starlette.types import Receive, Scope

from tokenyard.runtime.tasks import TaskSupervisor

T = TypeVar("T")
Abandon = Callable[[], Awaitable[None]]
# Where the server puts the `Line` of a request into its scope.
LINE = "tokenyard.line"
# How long abandoned work may take to end by itself before it is cancelled.
ABANDONED_SECONDS = 5.0


class ReaderGone(Exception):
    """The client closed the connection; there is nobody to answer."""


class Line:
    """The connection of a request, as far as an answer has to know it."""

    __slots__ = ("_closed", "_left", "transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._closed = False
        self._left: Callable[[], None] | None = None

    def watch(self, left: Callable[[], None] | None) -> None:
        """Whom to tell, soon, that the client is gone; None for nobody."""
        self._left = left
        if self._closed:
            asyncio.get_running_loop().call_soon(self._tell)

    def close(self) -> None:
        """The client is gone."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        if self._left is not None:
            self._left()


class Presence(Generic[T]):
    """The reader of one answer.

    abandon: asked for when it leaves, so that the work ends by itself with its counts; without one
    the work is cancelled at once.
    """

    __slots__ = ("_abandon", "_line", "_name", "_over", "_task", "_tasks", "_watching", "gone")

    def __init__(self, tasks: TaskSupervisor, name: str, abandon: Abandon | None) -> None:
        self.gone = False
        self._tasks = tasks
        self._name = name
        self._abandon = abandon
        self._over = False
        self._task: asyncio.Task[Any] | None = None
        self._line: Line | None = None
        self._watching: asyncio.Task[None] | None = None

    async def keep(self, work: Coroutine[Any, Any, T], scope: Scope, receive: Receive) -> T:
        """Do the work and return its result; raises ReaderGone when the reader left first."""
        self._task = asyncio.current_task()
        self._watch(scope.get(LINE), receive)
        try:
            done = await work
        except asyncio.CancelledError:
            # Ours, unless somebody has cancelled this task beside us.
            if not self.gone or self._task is None or self._task.uncancel() > 0:
                raise
            raise ReaderGone from None
        except Exception as error:
            if self.gone:
                raise ReaderGone from error
            raise
        finally:
            self._over = True
            if self._line is not None:
                self._line.watch(None)
            if self._watching is not None:
                self._watching.cancel()
        if self.gone:
            raise ReaderGone
        return done

    def give_up(self) -> None:
        """End the work now: nobody waits for it any more."""
        self.gone = True
        if not self._over and self._task is not None:
            self._task.cancel()

    def _watch(self, line: Line | None, receive: Receive) -> None:
        self._line = line
        if line is not None:
            line.watch(self._leave)
        else:
            self._watching = self._tasks.spawn(f"reader of {self._name}", self._listen(receive))

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        self._leave()

    def _leave(self) -> None:
        if self._abandon is None:
            self.give_up()
        else:
            self.gone = True
            self._tasks.spawn(f"end of {self._name}", self._end(self._abandon))

    async def _end(self, abandon: Abandon) -> None:
        await abandon()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=ABANDONED_SECONDS)
        self.give_up()


async def while_connected(
    work: Coroutine[Any, Any, T],
    scope: Scope,
    receive: Receive,
    *,
    tasks: TaskSupervisor,
    name: str,
    abandon: Abandon | None,
) -> T:
    """Do the work and return its result; raises ReaderGone when the client leaves first."""
    return await Presence[T](tasks, name, abandon).keep(work, scope, receive)
