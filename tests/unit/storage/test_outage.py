"""While the database is away: who waits, who is refused at once, and who tries."""

import asyncio
import io

import pytest

from tokenyard.runtime.clock import SimulatedClock
from tokenyard.storage.sql.outage import ConnectionLost, Outage
from tokenyard.telemetry.logs import Log
from tokenyard.vocabulary.errors import Unavailable


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


async def wait(outage: Outage, clock: SimulatedClock, seconds: float) -> None:
    """Meet the outage again and again for that long."""
    waiting = asyncio.ensure_future(outage.wait(ConnectionLost()))
    await asyncio.sleep(0)
    await clock.advance(seconds)
    await waiting


async def test_the_first_ones_wait_and_the_later_ones_are_refused(clock: SimulatedClock) -> None:
    lines = io.StringIO()
    outage = Outage(clock, Log(lines, clock), patience_seconds=1.0)
    outage.check()
    for _ in range(4):
        await wait(outage, clock, 0.25)
    with pytest.raises(Unavailable):
        await outage.wait(ConnectionLost())
    # One each second tries, so that the end of it is found.
    outage.check()
    with pytest.raises(Unavailable):
        outage.check()
    await clock.advance(1.0)
    outage.check()
    outage.end()
    outage.check()
    assert not outage.away
    assert lines.getvalue().count("storage.lost") == 1
    assert lines.getvalue().count("storage.found") == 1


async def test_a_second_outage_has_its_own_patience(clock: SimulatedClock) -> None:
    outage = Outage(clock, Log(io.StringIO(), clock), patience_seconds=1.0)
    await wait(outage, clock, 0.5)
    outage.end()
    await clock.advance(60)
    await wait(outage, clock, 0.5)
