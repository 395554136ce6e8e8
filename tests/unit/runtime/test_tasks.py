"""No task is lost, and no failure is silent."""

import asyncio

import pytest

from tokenyard.runtime.tasks import TaskSupervisor


async def test_failure_is_heard_and_cancellation_is_none() -> None:
    heard: list[tuple[str, str]] = []
    async with TaskSupervisor(lambda name, error: heard.append((name, str(error)))) as tasks:

        async def fail() -> None:
            raise ValueError("broken")

        await asyncio.wait({tasks.spawn("failing", fail())})
        tasks.spawn("waiting", asyncio.Event().wait())
        assert tasks.running == 1
    assert heard == [("failing", "broken")]
    assert tasks.running == 0


async def test_close_waits_for_the_last_words_of_each_task() -> None:
    said: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            said.append("cleaned up")

    async with TaskSupervisor(lambda *_: None) as tasks:
        tasks.spawn("work", work())
        await asyncio.sleep(0)
    assert said == ["cleaned up"]


async def test_closed_supervisor_starts_nothing() -> None:
    tasks = TaskSupervisor(lambda *_: None)
    await tasks.close()
    with pytest.raises(RuntimeError, match="late"):
        tasks.spawn("late", asyncio.sleep(0))
