"""A silent process is ended: one bound until its first answer, another from then on."""

import asyncio
import io

import pytest

from tokenyard.fleet.silence import SilenceWatch
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.settings import FleetSettings
from tokenyard.telemetry.logs import Log

SETTINGS = FleetSettings(start_seconds_max=60, silent_seconds=10)


class Process:
    """Answers while the clock is inside one of its spans."""

    def __init__(self, clock: SimulatedClock, spans: list[tuple[int, int]]) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._spans = spans
        self.killed_at: float | None = None

    @property
    def age(self) -> float:
        return self._clock.monotonic() - self._began

    async def answers(self) -> bool:
        return any(start <= self.age < end for start, end in self._spans)

    def kill(self) -> None:
        self.killed_at = self.age


@pytest.mark.parametrize(
    ("spans", "killed_at"),
    [
        pytest.param([], 61, id="never heard: frozen before its first answer"),
        pytest.param([(59, 1000)], None, id="slow to start"),
        pytest.param([(0, 100)], 110, id="frozen later: last heard at 99"),
        pytest.param([(5, 6), (15, 16), (25, 1000)], None, id="heard now and then"),
        pytest.param([(5, 6), (17, 1000)], 16, id="silent once for too long"),
    ],
)
async def test_is_ended_after_the_bound(spans: list[tuple[int, int]], killed_at: int) -> None:
    clock, out = SimulatedClock(), io.StringIO()
    process = Process(clock, spans)
    watch = SilenceWatch(
        "gateway-0", process.answers, settings=SETTINGS, clock=clock, log=Log(out, clock)
    )
    watching = asyncio.create_task(watch.end_when_silent(process))
    await clock.advance(300)
    assert process.killed_at == killed_at
    assert watching.done() == (killed_at is not None)
    assert ('"replica.silent"' in out.getvalue()) == watching.done()
    watching.cancel()
