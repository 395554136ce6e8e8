"""A stream that two servers may begin: whoever speaks first writes it, the other one is left.

Knows two servers and a time to wait; which servers they are, and whether a second may be asked,
comes from outside. The loser's stream is closed before the winner's first event is passed on, so
that only the winner's count can ever be billed.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tokenyard.runtime.clock import Clock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.upstreams.members import Member
from tokenyard.vocabulary.errors import TokenyardError

T = TypeVar("T")


@dataclass(slots=True)
class Runner(Generic[T]):
    """One server in the race. began: its first event, the error in its place, or an empty end."""

    member: Member
    stream: AsyncGenerator[T, None]
    waiting: "asyncio.Task[T | TokenyardError | None]" = field(init=False)

    def start(self, tasks: TaskSupervisor) -> None:
        """Wait for its first event beside everything else."""
        self.waiting = tasks.spawn(f"first event of {self.member.name}", _begin(self.stream))

    async def leave(self) -> None:
        """Stop listening, which stops the server."""
        await TaskSupervisor.end(self.waiting)
        await self.stream.aclose()


async def race(
    first: Runner[T],
    seconds: float,
    second: Callable[[], Runner[T] | None],
    *,
    lost: Callable[[Runner[T], TokenyardError | None], None],
    tasks: TaskSupervisor,
    clock: Clock,
) -> tuple[Runner[T], T | None]:
    """The server that writes the answer, and its first event; None is an empty answer.

    second: asked for another server when the first was silent for so long. lost: told of each one
    that is left, with its error if it broke. Raises the error of the last one when all broke.
    """
    running, won = [first], False
    first.start(tasks)
    silence: asyncio.Task[Any] | None = tasks.spawn("silence before a hedge", clock.sleep(seconds))
    try:
        while True:
            over = {runner.waiting for runner in running} | ({silence} if silence else set())
            await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
            for runner in [runner for runner in running if runner.waiting.done()]:
                told = runner.waiting.result()
                if not isinstance(told, TokenyardError):
                    running.remove(runner)
                    won = True
                    return runner, told
                if len(running) == 1:
                    running.clear()
                    raise told
                running.remove(runner)
                lost(runner, told)
            if silence is not None and silence.done():
                silence = None
                other = second()
                if other is not None:
                    other.start(tasks)
                    running.append(other)
    finally:
        if silence is not None:
            await TaskSupervisor.end(silence)
        for place, runner in enumerate(running):
            await runner.leave()
            # Without a winner the caller still holds the one that came first.
            if won or place:
                lost(runner, None)


async def _begin(stream: AsyncGenerator[T, None]) -> T | TokenyardError | None:
    """The first event; an error is a result, as it is for who waits and not for a supervisor."""
    try:
        return await anext(stream, None)
    except TokenyardError as error:
        return error
