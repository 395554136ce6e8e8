"""Time as a parameter: the real clock, and a simulated one whose time moves only when told.

Rules never see a clock, only numbers; services get one of these.
"""

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """What a room may know of time."""

    def now(self) -> float:
        """Seconds since the Unix epoch, for stamps that people and other machines read."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for durations and deadlines."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for that long; zero yields to other tasks once."""
        ...


class RealClock:
    """The operating system's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SimulatedClock:
    """Time for tests and simulations: stands still until `advance`, wakes sleepers in order."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Move time forward; every task that wakes on the way runs before the next one wakes."""
        end = self._now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            wake_at, _, woken = heapq.heappop(self._sleepers)
            self._now = max(self._now, wake_at)
            if not woken.done():
                woken.set_result(None)
            await self.settle()
        self._now = end
        await self.settle()

    async def jump(self, seconds: float) -> None:
        """As a machine that slept: time is over at once, and each task wakes once, late."""
        self._now += seconds
        await self.advance(0)

    async def settle(self, turns: int = 20) -> None:
        """Give every ready task a chance to run without moving time."""
        for _ in range(turns):
            await asyncio.sleep(0)
