"""Thousands of requests of every kind, aborted and failing at any moment: nothing is left."""

import asyncio
import io
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import tiny_model
from tokenyard.engine.front import Engine
from tokenyard.engine.rules.batching import Chunk
from tokenyard.engine.rules.batching import Sequence as Text
from tokenyard.engine.rules.drawing import DrawRule
from tokenyard.engine.scripted import ScriptedRunner
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import EngineMetrics
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.generation import SamplingParameters
from tokenyard.vocabulary.reasons import Reason

REQUESTS = 3000
AT_ONCE = 60
EXPECTED = {Reason.GENERATION_FAILED, Reason.STEP_OUT_OF_MEMORY, Reason.QUEUE_FULL}


class Storm:
    """An engine whose steps fail now and then, and requests that nobody could predict."""

    def __init__(self, seed: int, tokenizer: Tokenizer) -> None:
        self.chance = random.Random(seed)
        self.faults = random.Random(seed + 1)
        self.ends: Counter[str] = Counter()
        self.broken = False
        self.unexpected: set[Reason] = set()
        runner = ScriptedRunner(self.draw, block_count=48, before_step=self.fail_sometimes)
        self.engine = Engine(
            runner,
            tokenizer,
            EngineSettings(
                block_tokens=4,
                sequences_max=8,
                step_tokens_max=24,
                chunk_tokens_max=8,
                queued_requests_max=200,
                reserve_prompts=seed % 2 == 0,
                watermark=0.05 * (seed % 3),
            ),
            clock=RealClock(),
            randomness=SeededRandomness(seed),
            log=Log(io.StringIO(), RealClock()),
            metrics=EngineMetrics(),
            broken=self.note_broken,
        )

    def note_broken(self) -> None:
        self.broken = True

    def draw(self, text: Text, rule: DrawRule) -> int | None:
        place = hash((rule.seed, len(text.tokens)))
        if place % 401 == 0:
            return None
        return 2 if place % 29 == 0 else 70 + place % 5

    def fail_sometimes(self, chunks: Sequence[Chunk]) -> None:
        what = self.faults.random()
        if what < 0.003:
            raise MemoryError
        if what < 0.006:
            raise RuntimeError("a fault of the model")

    async def ask(self, folder: Path) -> None:
        chance = self.chance
        prompt = [70 + chance.randrange(3) for _ in range(chance.randint(1, 50))]
        sampling = SamplingParameters(
            seed=chance.randrange(1000),
            max_tokens=chance.randint(1, 24),
            prompt_top=chance.choice([None, None, None, 0]),
            bad_words=chance.choice([(), (), ("a",)]),
        )
        patience = chance.choice([0, 1, 2, 5, 100, 100])
        adapters = [0, *(one.number for one in self.engine.adapters.all)]
        try:
            if chance.random() < 0.1:
                group = self.engine.submit_embeddings([prompt, prompt[:3]])
            else:
                group = self.engine.submit_group(
                    prompt,
                    sampling,
                    chance.choice([1, 1, 1, 3]),
                    salt=chance.choice(["", "a"]),
                    priority=chance.randrange(2),
                    tells_progress=chance.random() < 0.2,
                    adapter=chance.choice(adapters),
                )
            pieces = 0
            try:
                async for _, piece in group:
                    pieces += 1
                    if piece.finish is not None:
                        self.ends[piece.finish.value] += 1
                    if pieces > patience:
                        group.abort()
            finally:
                group.abort()
        except TokenyardError as error:
            self.ends[error.reason.value] += 1
            self.unexpected |= {error.reason} - EXPECTED
        if chance.random() < 0.05:
            await self.change_adapters(folder)

    async def change_adapters(self, folder: Path) -> None:
        names = [one.name for one in self.engine.adapters.all]
        if len(names) > 2:
            self.engine.adapters.unload(self.chance.choice(names))
        else:
            try:
                await self.engine.adapters.load(f"a{self.chance.randrange(10**9)}", folder, 0.0)
            except TokenyardError as error:
                self.ends[error.reason.value] += 1


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_left_after_a_storm(seed: int, tmp_path: Path) -> None:
    storm = Storm(seed, Tokenizer(tiny_model.make_metadata()))
    storm.engine.start()
    left = iter(range(REQUESTS // 2))

    async def client() -> None:
        for _ in left:
            await storm.ask(tmp_path)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    await storm.engine.drain()
    batch = storm.engine._loop._batch
    batch.pool.check_integrity()
    assert batch.pool.used == 0
    assert not batch.running
    assert not batch.waiting
    assert storm.engine.open_count == 0
    assert not storm.broken
    assert not storm.unexpected
    for name in [one.name for one in storm.engine.adapters.all]:
        storm.engine.adapters.unload(name)
    assert not storm.engine.adapters._leaving
    assert not storm.engine.adapters._open
    wanted = {"stop", "length", "abort", "generation_failed", "step_out_of_memory"}
    assert wanted <= set(storm.ends), storm.ends
    await asyncio.to_thread(storm.engine.stop)
