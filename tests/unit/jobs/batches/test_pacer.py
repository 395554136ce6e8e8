"""Turns: given in order, taken back from the youngest, never from one that writes its result."""

import asyncio

import pytest

from tokenyard.jobs.batches.pacer import Pacer, Turn
from tokenyard.runtime.clock import SimulatedClock
from tokenyard.runtime.settings import BatchSettings
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.ids import BatchId, ModelName
from tokenyard.vocabulary.reasons import Reason

A, B = BatchId("batch_a"), BatchId("batch_b")
HERE, AWAY = ModelName("here"), ModelName("away")


class Bench:
    """A pacer whose interactive answers are a number."""

    def __init__(self) -> None:
        self.interactive = 0
        self.clock = SimulatedClock()
        self.pacer = Pacer(
            BatchSettings(lines_in_flight_max=4),
            interactive=lambda: self.interactive,
            clock=self.clock,
            metrics=GatewayMetrics(),
        )

    def begin(self, batch: BatchId = A, model: ModelName = HERE) -> Turn:
        turn = self.pacer.begin(batch, model)
        assert turn is not None
        return turn


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_no_more_lines_begin_than_may(bench: Bench) -> None:
    turns = [bench.begin() for _ in range(4)]
    assert bench.pacer.begin(A, HERE) is None
    bench.pacer.end(turns[0])
    bench.begin()
    bench.interactive = 1
    bench.pacer.end(turns[1])
    assert bench.pacer.begin(A, HERE) is None


async def test_a_batch_without_a_line_at_hand_holds_nobody_up(bench: Bench) -> None:
    turns = [bench.begin() for _ in range(4)]
    assert bench.pacer.begin(B, HERE) is None
    bench.pacer.end(turns[0])
    assert bench.pacer.begin(A, HERE) is None, "it is the other's turn"
    bench.pacer.give_up(B)
    bench.begin()


async def test_a_model_that_is_away_holds_nobody_up(bench: Bench) -> None:
    bench.pacer.note_refusal(AWAY, 10.0, Reason.MODEL_LOADING, away=True)
    assert bench.pacer.begin(A, AWAY) is None
    for _ in range(4):
        bench.begin(B, HERE)


async def test_a_model_that_was_full_takes_half(bench: Bench) -> None:
    bench.pacer.note_refusal(HERE, 10.0, Reason.QUEUE_FULL, away=False)
    assert bench.pacer.begin(A, HERE) is None
    await bench.clock.advance(10)
    bench.begin()
    bench.begin()
    assert bench.pacer.begin(A, HERE) is None
    bench.pacer.note_answer(HERE)
    bench.pacer.note_answer(HERE)
    bench.begin()


async def test_the_youngest_make_way_unless_they_write_their_result(bench: Bench) -> None:
    stopped: list[int] = []

    async def run(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(number)

    async with TaskSupervisor(lambda name, error: None) as tasks:
        tasks.spawn("pace", bench.pacer.keep_pace())
        turns = [bench.begin() for _ in range(4)]
        for number, turn in enumerate(turns):
            turn.task = tasks.spawn(str(number), run(number))
        turns[3].settling = True
        bench.interactive = 2
        await bench.clock.advance(1.9)
        assert stopped == []
        await bench.clock.advance(0.4)
        assert stopped == [2, 1]
        assert turns[3].task is not None
        assert not turns[3].task.done()


async def test_nothing_is_looked_at_while_there_is_nothing_to_do(bench: Bench) -> None:
    async with TaskSupervisor(lambda name, error: None) as tasks:
        tasks.spawn("pace", bench.pacer.keep_pace())
        await bench.clock.advance(1)
        assert not bench.clock._sleepers
        turn = bench.begin()
        await bench.clock.advance(1)
        assert bench.clock._sleepers
        bench.pacer.end(turn)
        bench.pacer.give_up(A)
        await bench.clock.advance(1)
        assert not bench.clock._sleepers
