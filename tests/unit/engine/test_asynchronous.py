"""The loop one step behind its device gives the same answers as the loop that waits for each step.

`Delayed` computes nothing before it is waited for, so whatever needs a result too early fails.
"""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenyard.engine.delayed import Delayed, Immediate
from tokenyard.engine.front import Engine
from tokenyard.engine.generation import Generation, Piece
from tokenyard.engine.model.checkpoints import read_shape
from tokenyard.engine.model.gguf import GgufFile
from tokenyard.engine.model.runner import TorchRunner
from tokenyard.engine.ports import Device, Runner
from tokenyard.engine.rules.batching import UNKNOWN, Batch, BatchLimits, Chunk, StepPlan
from tokenyard.engine.rules.batching import Sequence as Text
from tokenyard.engine.rules.drawing import DrawRule
from tokenyard.engine.rules.paging import BlockPool
from tokenyard.engine.scripted import NextToken, ScriptedRunner
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import EngineMetrics
from tokenyard.vocabulary.errors import InternalFailure
from tokenyard.vocabulary.generation import FinishReason, SamplingParameters

BLOCK = 4
END = 2


def count_on(text: Text, rule: DrawRule) -> int:
    """A text whose every token depends on all before it; it ends at a place of its own."""
    place = len(text.tokens) - text.prompt_count
    if place > 3 and sum(text.tokens) % 11 == 0:
        return END
    return 3 + (7 * sum(text.tokens) + 31 * len(text.tokens) + rule.seed) % 97


def generate(
    device: Device, prompts: Sequence[Sequence[int]], count: int, limits: BatchLimits, blocks: int
) -> tuple[list[list[int]], int]:
    """Texts of `count` tokens at most, and how often one had to give way."""
    batch = Batch(BlockPool(blocks), limits)
    texts = [
        Text(number, list(prompt), full_count=len(prompt) + count)
        for number, prompt in enumerate(prompts)
    ]
    for text in texts:
        batch.add(text)
    flights: list[tuple[StepPlan, object]] = []
    while batch.running or batch.waiting or flights:
        plan = batch.plan_step()
        if plan.chunks:
            rules = {
                chunk.sequence.id: DrawRule(0.0, 1.0, 0, 5, len(chunk.sequence.tokens))
                for chunk in plan.chunks
            }
            flights.append((plan, device.launch(plan.chunks, rules)))
            batch.advance(plan)
        while len(flights) > (device.lag if plan.chunks else 0):
            landed, ticket = flights.pop(0)
            drawn = device.collect(ticket)
            batch.learn(landed, {key: token for key, token in drawn.items() if token is not None})
            for chunk in landed.chunks:
                text = chunk.sequence
                known = text.tokens[: len(text.tokens) - text.unknown]
                if chunk.draws and (known[-1] == END or len(known) == text.full_count):
                    del text.tokens[len(known) :]
                    batch.end(text)
    batch.pool.check_integrity()
    assert batch.pool.used == 0
    return [text.tokens for text in texts], sum(text.preemptions for text in texts)


@settings(deadline=None, max_examples=60)
@given(
    prompts=st.lists(st.lists(st.integers(3, 9), min_size=1, max_size=14), min_size=1, max_size=6),
    count=st.integers(1, 12),
    step=st.sampled_from([1, 3, 8, 64]),
    blocks=st.sampled_from([7, 9, 40]),
)
def test_any_plan_gives_the_same_texts(
    prompts: list[list[int]], count: int, step: int, blocks: int
) -> None:
    limits = BatchLimits(step, sequences_max=4, block_tokens=BLOCK, chunk_tokens_max=step)
    at_once, _ = generate(Immediate(ScriptedRunner(count_on)), prompts, count, limits, blocks)
    behind, _ = generate(Delayed(ScriptedRunner(count_on)), prompts, count, limits, blocks)
    assert behind == at_once
    assert all(UNKNOWN not in text for text in behind)


@pytest.mark.parametrize(("step", "blocks"), [(64, 60), (7, 60), (64, 13)])
def test_a_model_says_the_same(tiny_model: Path, step: int, blocks: int) -> None:
    with GgufFile(tiny_model) as file:
        size = read_shape(file).kv_bytes_per_token * BLOCK
        runner = TorchRunner(
            file, weights="fp32", threads=1, kv_cache_bytes=61 * size, block_tokens=BLOCK
        )
    prompts = [[7], list(range(10, 22)), [10, 11, 12, 13, 14, 99], [*range(10, 19), 3, 4]]
    limits = BatchLimits(step, sequences_max=8, block_tokens=BLOCK, chunk_tokens_max=step)
    at_once, _ = generate(Immediate(runner), prompts, 9, limits, 60)
    behind, preemptions = generate(Delayed(runner), prompts, 9, limits, blocks)
    assert behind == at_once
    assert (preemptions > 0) == (blocks == 13)


def test_a_full_text_takes_no_block_from_others() -> None:
    """Its last token needs no place, so nobody has to give way for it."""
    limits = BatchLimits(64, sequences_max=4, block_tokens=BLOCK, chunk_tokens_max=64)
    prompts = [[3] * 6, [4] * 6]
    # Two blocks each, full with the seventh and eighth token: a ninth would need a third block.
    _, preemptions = generate(Delayed(ScriptedRunner(count_on)), prompts, 3, limits, 4)
    assert preemptions == 0


def test_a_text_that_waits_for_its_tokens_is_never_ahead_of_them() -> None:
    limits = BatchLimits(64, sequences_max=4, block_tokens=BLOCK, chunk_tokens_max=64)
    batch = Batch(BlockPool(20), limits)
    close, free = Text(0, [5, 6], waits_for_tokens=True), Text(1, [5, 6])
    batch.add(close)
    batch.add(free)
    first = batch.plan_step()
    batch.advance(first)
    second = batch.plan_step()
    assert [chunk.sequence for chunk in second.chunks] == [free]
    batch.advance(second)
    batch.learn(first, {0: 8, 1: 9})
    third = batch.plan_step()
    assert [chunk.sequence for chunk in third.chunks] == [close, free]
    assert close.tokens == [5, 6, 8]
    assert free.tokens == [5, 6, 9, UNKNOWN]


def test_no_block_gets_a_name_before_its_tokens_are_known() -> None:
    limits = BatchLimits(64, sequences_max=4, block_tokens=BLOCK, chunk_tokens_max=64)
    batch = Batch(BlockPool(20), limits)
    text = Text(0, [5, 6, 7])
    batch.add(text)
    plans = []
    for _ in range(3):
        plans.append(batch.plan_step())
        batch.advance(plans[-1])
        if len(plans) > 1:
            batch.learn(plans[-2], {0: 30 + len(plans)})
    # The first block is 5 6 7 32, and it became known with the second step's landing.
    assert text.tokens == [5, 6, 7, 32, 33, UNKNOWN]
    assert text.published == 1
    again = Text(1, [5, 6, 7, 32, 40])
    batch.add(again)
    batch.plan_step()
    assert again.cached_count == BLOCK


# --- the whole loop ----------------------------------------------------------------------------


class Yard:
    """An engine over a delayed or an immediate runner."""

    def __init__(
        self, tokenizer: Tokenizer, runner: Runner, *, delayed: bool, **settings: int
    ) -> None:
        self.tokenizer = tokenizer
        self.logged = io.StringIO()
        self.broken = asyncio.Event()
        self.metrics = EngineMetrics()
        self.engine = Engine(
            Delayed(runner) if delayed else runner,
            tokenizer,
            EngineSettings(block_tokens=BLOCK, **settings),  # type: ignore[arg-type]
            clock=RealClock(),
            randomness=SeededRandomness(1),
            log=Log(self.logged, RealClock()),
            metrics=self.metrics,
            broken=self.broken.set,
        )

    def submit(self, prompt: str, **sampling: object) -> Generation:
        ids = self.tokenizer.encode(prompt, specials=False)
        return self.engine.submit(ids, SamplingParameters(seed=3, **sampling))  # type: ignore[arg-type]

    def used_share(self) -> float:
        return self.metrics.registry.get_sample_value("tokenyard_engine_kv_cache_usage_perc") or 0


@asynccontextmanager
async def running(yard: Yard) -> AsyncIterator[Yard]:
    yard.engine.start()
    try:
        yield yard
    finally:
        await asyncio.to_thread(yard.engine.stop)
    assert not yard.broken.is_set()


async def read(generation: Generation) -> tuple[str, Piece]:
    pieces = [piece async for piece in generation]
    return "".join(piece.text for piece in pieces), pieces[-1]


async def answer(yard: Yard) -> list[tuple[str, FinishReason | None, int]]:
    """Many requests at once, with ends, lengths and stop texts."""
    asked = [
        yard.submit("hello world", max_tokens=30, ignore_eos=True),
        yard.submit("hello", max_tokens=1),
        *(yard.submit("hello" * size, max_tokens=25) for size in range(1, 7)),
        *(yard.submit("wor" * size, max_tokens=25, stop=(stop,)) for size, stop in STOPS),
    ]
    found = []
    for text, last in await asyncio.gather(*map(read, asked)):
        assert last.usage is not None
        found.append((text, last.finish, last.usage.completion_tokens))
    return found


STOPS = ((1, "a"), (2, "e"), (3, "3"), (4, "&"))


@pytest.mark.parametrize("blocks", [40, 160])
async def test_the_loop_gives_the_same_answers(tokenizer: Tokenizer, blocks: int) -> None:
    found = []
    for delayed in (False, True):
        runner = ScriptedRunner(count_on, block_count=blocks)
        async with running(Yard(tokenizer, runner, delayed=delayed, step_tokens_max=9)) as yard:
            found.append(await answer(yard))
    assert found[0] == found[1]
    finishes = {finish for _, finish, _ in found[0]}
    assert finishes == {FinishReason.STOP, FinishReason.LENGTH}


class Stair:
    """Lets the device compute one step for each call."""

    def __init__(self) -> None:
        self._steps = threading.Semaphore(0)
        self.count = 0

    def before_step(self, chunks: Sequence[Chunk]) -> None:
        assert self._steps.acquire(timeout=10)
        self.count += 1

    def step(self, count: int) -> None:
        self._steps.release(count)


async def test_an_abort_under_way_frees_all(tokenizer: Tokenizer) -> None:
    stair = Stair()
    runner = ScriptedRunner(count_on, block_count=64, before_step=stair.before_step)
    async with running(Yard(tokenizer, runner, delayed=True)) as yard:
        staying = yard.submit("hello world", max_tokens=6, ignore_eos=True)
        leaving = yard.submit("hello", max_tokens=200, ignore_eos=True)
        stair.step(3)
        pieces = aiter(leaving)
        await anext(pieces)
        leaving.abort()
        stair.step(20)
        last = [piece async for piece in pieces][-1]
        assert last.finish is FinishReason.ABORT
        _, kept = await read(staying)
        assert kept.finish is FinishReason.LENGTH
        assert kept.usage is not None
        assert kept.usage.completion_tokens == 6
        # `drain` returns when nobody is left; the loop has checked the pool by then.
        await yard.engine.drain()
    assert yard.used_share() == 0


def failing_at(place: int, how: Callable[[], int | None]) -> NextToken:
    """The text that starts with the longer prompt breaks at its `place`-th token."""

    def next_token(text: Text, rule: DrawRule) -> int | None:
        if text.prompt_count > 4 and len(text.tokens) - text.prompt_count == place:
            return how()
        return count_on(text, rule)

    return next_token


def give_nan() -> None:
    return None


def blow_up() -> int:
    raise RuntimeError("device-side assert")


async def test_a_nan_ends_its_own_sequence_alone(tokenizer: Tokenizer) -> None:
    runner = ScriptedRunner(failing_at(3, give_nan), block_count=64)
    async with running(Yard(tokenizer, runner, delayed=True)) as yard:
        healthy = yard.submit("wor", max_tokens=20, ignore_eos=True)
        broken = yard.submit("hello, hello, hello", max_tokens=20, ignore_eos=True)
        with pytest.raises(InternalFailure):
            await read(broken)
        _, last = await read(healthy)
        assert last.finish is FinishReason.LENGTH
        await yard.engine.drain()
    assert yard.used_share() == 0


async def test_a_failed_step_ends_its_sequences_and_the_next_request_works(
    tokenizer: Tokenizer,
) -> None:
    runner = ScriptedRunner(failing_at(3, blow_up), block_count=64)
    async with running(Yard(tokenizer, runner, delayed=True)) as yard:
        with pytest.raises(InternalFailure):
            await read(yard.submit("hello, hello, hello", max_tokens=20, ignore_eos=True))
        _, last = await read(yard.submit("wor", max_tokens=5, ignore_eos=True))
        assert last.finish is FinishReason.LENGTH
        await yard.engine.drain()
    assert yard.used_share() == 0
    assert "device-side assert" in yard.logged.getvalue()
