"""Simulated time wakes sleepers in order and stands still otherwise."""

import asyncio

from tokenyard.runtime.clock import RealClock, SimulatedClock


async def test_sleepers_wake_in_order_of_their_time() -> None:
    clock, woken = SimulatedClock(), []

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now()))

    start = clock.now()
    tasks = [
        asyncio.ensure_future(sleep(name, after))
        for name, after in (("c", 3), ("a", 1), ("b", 2), ("now", 0))
    ]
    await clock.advance(2)
    assert woken == [("now", start), ("a", start + 1), ("b", start + 2)]
    await clock.advance(10)
    assert woken[-1] == ("c", start + 3)
    assert clock.now() == start + 12
    await asyncio.gather(*tasks)


async def test_sleeper_may_sleep_again_within_one_advance() -> None:
    clock, beats = SimulatedClock(), []

    async def beat() -> None:
        for _ in range(5):
            await clock.sleep(1)
            beats.append(clock.monotonic())

    task = asyncio.ensure_future(beat())
    begin = clock.monotonic()
    await clock.advance(5)
    assert beats == [begin + second for second in range(1, 6)]
    await task


async def test_cancelled_sleeper_does_not_stop_the_clock() -> None:
    clock = SimulatedClock()
    task = asyncio.ensure_future(clock.sleep(1))
    await clock.settle()
    task.cancel()
    await clock.advance(2)
    assert task.cancelled()


async def test_real_clock_runs_forward() -> None:
    clock = RealClock()
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= before
    assert clock.now() > 1_700_000_000


async def test_a_jump_wakes_everybody_once_and_late() -> None:
    clock = SimulatedClock(0.0)
    woken: list[float] = []

    async def poll() -> None:
        while True:
            await clock.sleep(1.0)
            woken.append(clock.now())

    polling = asyncio.ensure_future(poll())
    await clock.settle()
    await clock.jump(1000.0)
    assert woken == [1000.0]
    await clock.advance(1.0)
    assert woken == [1000.0, 1001.0]
    polling.cancel()
