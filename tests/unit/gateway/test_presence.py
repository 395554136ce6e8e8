"""What is done for a reader ends when it leaves, however that is heard of."""

import asyncio
from typing import Any, cast

import pytest
from starlette.types import Message, Receive, Scope

from tokenyard.gateway.presence import LINE, Line, Presence, ReaderGone, while_connected
from tokenyard.runtime.tasks import TaskSupervisor


class Client:
    """A reader that leaves when it is told to; shown as a line, or by its messages alone."""

    def __init__(self, *, line: bool) -> None:
        self._left = asyncio.Event()
        self._line = Line(cast("asyncio.Transport", None)) if line else None

    @property
    def scope(self) -> Scope:
        return {} if self._line is None else {LINE: self._line}

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        self._left.set()
        if self._line is not None:
            self._line.close()


@pytest.fixture(params=[True, False], ids=["a line", "messages"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(line=request.param)


async def test_work_that_ends_gives_its_result_and_leaves_no_task(client: Client) -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 5

    async with TaskSupervisor(lambda name, error: None) as tasks:
        assert await while_connected(
            work(), client.scope, client.receive, tasks=tasks, name="w", abandon=None
        ) == 5  # fmt: skip
        client.leave()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not tasks.running


async def test_work_is_cancelled_when_the_reader_leaves(client: Client) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async with TaskSupervisor(lambda name, error: None) as tasks:
        asyncio.get_running_loop().call_later(0, client.leave)
        with pytest.raises(ReaderGone):
            await while_connected(
                work(), client.scope, client.receive, tasks=tasks, name="w", abandon=None
            )
    assert ended == ["work"]


async def test_abandoned_work_ends_by_itself(client: Client) -> None:
    wanted = asyncio.Event()
    told: list[str] = []

    async def abandon() -> None:
        wanted.set()

    async def work() -> None:
        await wanted.wait()
        await asyncio.sleep(0)
        told.append("counts")

    async with TaskSupervisor(lambda name, error: None) as tasks:
        asyncio.get_running_loop().call_later(0, client.leave)
        with pytest.raises(ReaderGone):
            await while_connected(
                work(), client.scope, client.receive, tasks=tasks, name="w", abandon=abandon
            )
    assert told == ["counts"]


async def test_who_has_left_before_the_work_began_is_gone(client: Client) -> None:
    client.leave()
    async with TaskSupervisor(lambda name, error: None) as tasks:
        with pytest.raises(ReaderGone):
            await while_connected(
                asyncio.sleep(60), client.scope, client.receive, tasks=tasks, name="w", abandon=None
            )


async def test_a_cancellation_from_outside_is_not_taken_for_a_reader_that_left(
    client: Client,
) -> None:
    async with TaskSupervisor(lambda name, error: None) as tasks:
        presence = Presence[Any](tasks, "w", None)
        keeping = tasks.spawn(
            "keeping", presence.keep(asyncio.sleep(60), client.scope, client.receive)
        )
        await asyncio.sleep(0)
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        assert not presence.gone


async def test_a_line_that_is_shown_costs_no_task() -> None:
    """And is not asked for messages either."""

    async def never() -> Message:
        raise AssertionError

    receive: Receive = never
    line = Client(line=True)
    async with TaskSupervisor(lambda name, error: None) as tasks:

        async def work() -> int:
            return tasks.running

        assert await while_connected(
            work(), line.scope, receive, tasks=tasks, name="w", abandon=None
        ) == 0  # fmt: skip
