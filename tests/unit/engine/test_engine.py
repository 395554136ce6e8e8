"""The loop and its front over a scripted model: pieces, ends, aborts, faults, limits, drain."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from tokenyard.engine.front import Engine
from tokenyard.engine.generation import Generation, Piece
from tokenyard.engine.rules.batching import Chunk
from tokenyard.engine.rules.batching import Sequence as Text
from tokenyard.engine.rules.drawing import DrawRule
from tokenyard.engine.scripted import NextToken, ScriptedRunner, say
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import EngineMetrics
from tokenyard.vocabulary.errors import InternalFailure, InvalidRequest, Unavailable
from tokenyard.vocabulary.generation import FinishReason, SamplingParameters
from tokenyard.vocabulary.reasons import Reason

END = 2


class Gate:
    """Lets the loop's thread make a step only when the test says so."""

    def __init__(self) -> None:
        self._steps = threading.Semaphore(0)
        self.open = False

    def before_step(self, chunks: Sequence[Chunk]) -> None:
        if not self.open:
            assert self._steps.acquire(timeout=10)

    def step(self, count: int = 1) -> None:
        self._steps.release(count)

    def let_run(self) -> None:
        self.open = True
        self._steps.release()


class Yard:
    """An engine under test with what the test looks at."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        next_token: NextToken,
        *,
        before_step: Callable[[Sequence[Chunk]], None] | None = None,
        blocks: int = 64,
        **settings: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.logged = io.StringIO()
        self.metrics = EngineMetrics()
        self.broken = asyncio.Event()
        self.runner = ScriptedRunner(next_token, block_count=blocks, before_step=before_step)
        self.engine = Engine(
            self.runner,
            tokenizer,
            EngineSettings(**settings),  # type: ignore[arg-type]
            clock=RealClock(),
            randomness=SeededRandomness(1),
            log=Log(self.logged, RealClock()),
            metrics=self.metrics,
            broken=self.broken.set,
        )

    def submit(self, prompt: str = "hello", **sampling: object) -> Generation:
        ids = self.tokenizer.encode(prompt, specials=False)
        return self.engine.submit(ids, SamplingParameters(**sampling))  # type: ignore[arg-type]

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"tokenyard_engine_{name}", labels) or 0.0


@asynccontextmanager
async def running(yard: Yard) -> AsyncIterator[Yard]:
    yard.engine.start()
    try:
        yield yard
    finally:
        await asyncio.to_thread(yard.engine.stop)


async def read(generation: Generation) -> tuple[str, Piece]:
    pieces = [piece async for piece in generation]
    return "".join(piece.text for piece in pieces), pieces[-1]


def spell(tokenizer: Tokenizer, text: str) -> NextToken:
    return say(tokenizer.encode(text, specials=False), END)


async def test_an_answer_comes_in_pieces_with_usage_at_its_end(tokenizer: Tokenizer) -> None:
    async with running(Yard(tokenizer, spell(tokenizer, "hello world"))) as yard:
        text, last = await read(yard.submit("hello"))
    assert text == "hello world"
    assert last.finish is FinishReason.STOP
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (1, 3)
    assert 0 <= last.queue_seconds <= last.first_token_seconds <= last.total_seconds


async def test_length_ends_an_answer_and_ignoring_ends_goes_on(tokenizer: Tokenizer) -> None:
    async with running(Yard(tokenizer, spell(tokenizer, "hello"))) as yard:
        text, last = await read(yard.submit(max_tokens=5, ignore_eos=True))
        assert (text, last.finish) == ("hello", FinishReason.LENGTH)
        assert last.usage is not None
        assert last.usage.completion_tokens == 5


async def test_a_stop_text_across_tokens_is_not_shown(tokenizer: Tokenizer) -> None:
    async with running(Yard(tokenizer, spell(tokenizer, "abcdefg"))) as yard:
        text, last = await read(yard.submit(stop=("cde",)))
        assert (text, last.finish) == ("ab", FinishReason.STOP)
        text, last = await read(yard.submit(stop=("gx",)))
        assert (text, last.finish) == ("abcdefg", FinishReason.STOP)


async def test_an_answer_cut_inside_a_character_ends_with_a_replacement(
    tokenizer: Tokenizer,
) -> None:
    async with running(Yard(tokenizer, spell(tokenizer, "aé"))) as yard:
        assert (await read(yard.submit(max_tokens=2)))[0] == "a\ufffd"


async def test_a_slow_reader_gets_merged_text_and_holds_nobody_up(tokenizer: Tokenizer) -> None:
    async with running(Yard(tokenizer, spell(tokenizer, "abcdefgh"))) as yard:
        slow, quick = yard.submit("a"), yard.submit("b")
        assert (await read(quick))[0] == "abcdefgh"
        pieces = [piece async for piece in slow]
    assert "".join(piece.text for piece in pieces) == "abcdefgh"
    assert len(pieces) < 8


async def test_abort_frees_the_blocks_and_counts_the_usage(tokenizer: Tokenizer) -> None:
    gate = Gate()
    yard = Yard(tokenizer, lambda text, rule: 70, before_step=gate.before_step)
    async with running(yard):
        generation = yard.submit("hello world")
        gate.step(3)
        first = await anext(aiter(generation))
        assert first.text
        generation.abort()
        generation.abort()
        gate.let_run()
        await yard.engine.drain()
        assert yard.count("request_success_total", finished_reason="abort") == 1
        assert yard.count("generation_tokens_total") >= 1
        assert yard.count("prompt_tokens_total") == 2
    assert yard.engine._loop._batch.pool.used == 0


async def test_a_waiting_request_can_be_aborted(tokenizer: Tokenizer) -> None:
    gate = Gate()
    yard = Yard(tokenizer, spell(tokenizer, "ab"), before_step=gate.before_step, sequences_max=1)
    async with running(yard):
        first, second = yard.submit("a"), yard.submit("b")
        second.abort()
        gate.let_run()
        assert (await read(first))[0] == "ab"
        text, last = await read(second)
        assert (text, last.finish) == ("", FinishReason.ABORT)


async def test_a_failing_step_fails_its_sequences_and_no_other(tokenizer: Tokenizer) -> None:
    def fail_once(chunks: Sequence[Chunk]) -> None:
        if any(chunk.sequence.tokens[0] == 99 for chunk in chunks):
            raise RuntimeError("a kernel broke")

    async with running(Yard(tokenizer, spell(tokenizer, "fine"), before_step=fail_once)) as yard:
        bad = yard.engine.submit([99, 99], SamplingParameters())
        with pytest.raises(InternalFailure) as caught:
            await read(bad)
        assert caught.value.reason is Reason.GENERATION_FAILED
        assert (await read(yard.submit()))[0] == "fine"
        assert yard.count("request_success_total", finished_reason="error") == 1
    assert "a kernel broke" in yard.logged.getvalue()
    assert yard.engine._loop._batch.pool.used == 0


async def test_a_nan_fails_one_sequence_of_the_step(tokenizer: Tokenizer) -> None:
    script = spell(tokenizer, "fine")

    def next_token(text: Text, rule: DrawRule) -> int | None:
        return None if text.tokens[0] == 99 else script(text, rule)

    async with running(Yard(tokenizer, next_token)) as yard:
        bad = yard.engine.submit([99], SamplingParameters())
        good = yard.submit()
        with pytest.raises(InternalFailure, match="not a number"):
            await read(bad)
        assert (await read(good))[0] == "fine"


async def test_a_fault_of_the_loop_itself_ends_everyone_and_is_told(tokenizer: Tokenizer) -> None:
    yard = Yard(tokenizer, lambda text, rule: 10**9)
    async with running(yard):
        with pytest.raises(InternalFailure, match="broke down"):
            await read(yard.submit())
        async with asyncio.timeout(5):
            await yard.broken.wait()


async def test_what_cannot_fit_is_refused_for_good(tokenizer: Tokenizer) -> None:
    yard = Yard(tokenizer, spell(tokenizer, "x"), blocks=2, block_tokens=4)
    async with running(yard):
        assert yard.engine.capacity_tokens == 9
        for prompt, asked, param in ((9, None, "messages"), (5, 5, "max_tokens")):
            with pytest.raises(InvalidRequest) as caught:
                yard.engine.submit([70] * prompt, SamplingParameters(max_tokens=asked))
            assert caught.value.reason is Reason.CONTEXT_LENGTH_EXCEEDED
            assert caught.value.param == param
        with pytest.raises(InvalidRequest, match="empty"):
            yard.engine.submit([], SamplingParameters())
        whole = yard.engine.submit([70] * 8, SamplingParameters(ignore_eos=True))
        assert (await read(whole))[1].finish is FinishReason.LENGTH
        edge = yard.engine.submit([70] * 4, SamplingParameters(ignore_eos=True, max_tokens=5))
        _, last = await read(edge)
        assert last.usage is not None
        assert last.usage.completion_tokens == 5


async def test_a_full_queue_says_when_to_come_back(tokenizer: Tokenizer) -> None:
    gate = Gate()
    yard = Yard(
        tokenizer,
        spell(tokenizer, "x"),
        before_step=gate.before_step,
        sequences_max=1,
        queued_requests_max=2,
    )
    async with running(yard):
        taken = [yard.submit() for _ in range(3)]
        with pytest.raises(Unavailable) as caught:
            yard.submit()
        assert caught.value.reason is Reason.QUEUE_FULL
        assert caught.value.retry_after_seconds is not None
        assert caught.value.retry_after_seconds >= 1
        assert yard.count("admission_rejections_total", reason="queue_full") == 1
        gate.let_run()
        for generation in taken:
            await read(generation)
        await yard.engine.drain()
        assert yard.engine.open_count == 0


async def test_too_many_waiting_tokens_are_refused_but_a_lone_prompt_is_not(
    tokenizer: Tokenizer,
) -> None:
    gate = Gate()
    yard = Yard(
        tokenizer, spell(tokenizer, "x"), before_step=gate.before_step, queued_tokens_max=10
    )
    async with running(yard):
        alone = yard.engine.submit([70] * 12, SamplingParameters())
        with pytest.raises(Unavailable, match="prompt tokens"):
            yard.submit()
        gate.let_run()
        await read(alone)


async def test_draining_lets_the_running_end_and_nobody_in(tokenizer: Tokenizer) -> None:
    gate = Gate()
    yard = Yard(tokenizer, spell(tokenizer, "done"), before_step=gate.before_step)
    async with running(yard):
        generation = yard.submit()
        drain = asyncio.ensure_future(yard.engine.drain())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as caught:
            yard.submit()
        assert caught.value.reason is Reason.SHUTTING_DOWN
        assert not drain.done()
        gate.let_run()
        assert (await read(generation))[0] == "done"
        await drain


async def test_stopping_aborts_what_runs(tokenizer: Tokenizer) -> None:
    yard = Yard(tokenizer, lambda text, rule: 70)
    yard.engine.start()
    generation = yard.submit()
    await asyncio.to_thread(yard.engine.stop)
    assert (await read(generation))[1].finish is FinishReason.ABORT


async def test_the_seed_is_the_request_s_or_a_fresh_one(tokenizer: Tokenizer) -> None:
    seen: list[tuple[int, int]] = []

    def next_token(text: Text, rule: DrawRule) -> int:
        seen.append((rule.seed, rule.position))
        return END

    async with running(Yard(tokenizer, next_token)) as yard:
        for seed in (42, 42, None, None):
            await read(yard.engine.submit([70, 71], SamplingParameters(seed=seed)))
    assert seen[0] == seen[1] == (42, 2)
    assert seen[2][0] != seen[3][0]


async def test_a_storm_of_aborts_leaks_nothing(tokenizer: Tokenizer) -> None:
    chance = SeededRandomness(4)
    yard = Yard(
        tokenizer,
        lambda text, rule: 70 + len(text.tokens) % 5,
        blocks=40,
        block_tokens=4,
        sequences_max=6,
        step_tokens_max=16,
        queued_requests_max=2000,
    )

    async def one(number: int) -> None:
        prompt = [70 + value % 3 for value in chance.bytes(1 + chance.bytes(1)[0] % 40)]
        generation = yard.engine.submit(prompt, SamplingParameters(max_tokens=1 + number % 20))
        pieces = 0
        async for _ in generation:
            pieces += 1
            if chance.uniform(0, 1) < 0.1:
                generation.abort()

    async with running(yard):
        await asyncio.gather(*(one(number) for number in range(300)))
        await yard.engine.drain()
    batch = yard.engine._loop._batch
    batch.pool.check_integrity()
    assert batch.pool.used == 0
    assert not batch.running
    assert not batch.waiting
    assert yard.engine.open_count == 0
    ended = sum(
        yard.count("request_success_total", finished_reason=reason)
        for reason in ("length", "abort")
    )
    assert ended == 300
    assert yard.count("num_preemptions_total") > 0
    assert not yard.broken.is_set()


async def test_a_stop_token_ends_an_answer_and_is_not_shown(tokenizer: Tokenizer) -> None:
    (token,) = tokenizer.encode("c", specials=False)
    async with running(Yard(tokenizer, spell(tokenizer, "abcd"))) as yard:
        text, last = await read(yard.submit(stop_token_ids=(token,), ignore_eos=True))
    assert (text, last.finish) == ("ab", FinishReason.STOP)


async def test_stop_texts_do_not_count_before_the_answer_is_long_enough(
    tokenizer: Tokenizer,
) -> None:
    async with running(Yard(tokenizer, spell(tokenizer, "abxabyab"))) as yard:
        text, last = await read(yard.submit(stop=("b",), min_tokens=4))
    assert (text, last.finish) == ("abxa", FinishReason.STOP)


@pytest.mark.parametrize("wish", [{"logit_bias": ((10**6, 1.0),)}, {"stop_token_ids": (10**6,)}])
async def test_tokens_outside_the_vocabulary_are_refused(
    tokenizer: Tokenizer, wish: dict[str, object]
) -> None:
    async with running(Yard(tokenizer, spell(tokenizer, "x"))) as yard:
        with pytest.raises(InvalidRequest) as caught:
            yard.engine.submit([70], SamplingParameters(**wish))  # type: ignore[arg-type]
        assert caught.value.param == next(iter(wish))


async def test_salts_keep_prefixes_apart(tokenizer: Tokenizer) -> None:
    async with running(Yard(tokenizer, spell(tokenizer, "x"), block_tokens=4)) as yard:
        found = []
        for salt in ("one", "one", "two", ""):
            generation = yard.engine.submit([70] * 9, SamplingParameters(), salt=salt)
            _, last = await read(generation)
            found.append(last.usage.cached_tokens if last.usage else None)
    assert found == [0, 8, 0, 0]


async def test_a_group_is_let_in_whole_or_not_at_all(tokenizer: Tokenizer) -> None:
    gate = Gate()
    yard = Yard(
        tokenizer,
        spell(tokenizer, "x"),
        before_step=gate.before_step,
        sequences_max=2,
        queued_requests_max=1,
    )
    async with running(yard):
        group = yard.engine.submit_group([70], SamplingParameters(), 2)
        with pytest.raises(Unavailable):
            yard.engine.submit_group([70], SamplingParameters(), 2)
        assert yard.engine.open_count == 2
        gate.let_run()
        ends = {number async for number, piece in group if piece.finish}
        assert ends == {0, 1}
        with pytest.raises(InvalidRequest) as caught:
            yard.engine.submit_group([70], SamplingParameters(), 3)
        assert caught.value.param == "n"
