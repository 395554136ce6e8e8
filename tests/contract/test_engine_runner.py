"""What the engine's loop relies on, for every Runner: the scripted one and the one on torch."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from support import tiny_model
from tokenyard.engine.model.gguf import GgufFile
from tokenyard.engine.model.runner import TorchRunner
from tokenyard.engine.ports import Draws, Runner
from tokenyard.engine.rules.batching import Batch, BatchLimits, Chunk, Sequence
from tokenyard.engine.rules.drawing import DrawRule
from tokenyard.engine.rules.paging import BlockPool
from tokenyard.engine.scripted import ScriptedRunner

BLOCK = 4
GREEDY = DrawRule(temperature=0.0, top_p=1.0, top_k=0, seed=0, position=0)


def make_torch(folder: Path) -> Runner:
    with GgufFile(tiny_model.write_model(folder / "tiny.gguf")) as file:
        return TorchRunner(
            file, weights="fp32", threads=1, kv_cache_bytes=500_000, block_tokens=BLOCK
        )


def make_scripted(folder: Path) -> Runner:
    return ScriptedRunner(lambda text, rule: sum(text.tokens) % 250, block_count=60)


@pytest.fixture(params=[make_torch, make_scripted], ids=["torch", "scripted"])
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Runner:
    make: Callable[[Path], Runner] = request.param
    return make(tmp_path)


def test_it_says_how_much_it_holds(runner: Runner) -> None:
    assert runner.block_count >= 1
    assert runner.context_tokens >= 1


def test_only_those_that_draw_get_a_token(runner: Runner) -> None:
    drawing, waiting = Sequence(3, [5, 6], blocks=[1]), Sequence(8, [5, 6, 7], blocks=[2])
    chunks = [Chunk(waiting, 0, 2, draws=False), Chunk(drawing, 0, 2, draws=True)]
    drawn = runner.run(chunks, {3: GREEDY})
    assert drawn.keys() == {3}
    assert isinstance(drawn[3], int)


def test_a_step_may_draw_nothing(runner: Runner) -> None:
    text = Sequence(1, [5, 6, 7], blocks=[1])
    assert runner.run([Chunk(text, 0, 2, draws=False)], {}) == {}


def test_reports_come_for_those_that_ask(runner: Runner) -> None:
    texts = [Sequence(number, [5, 6], blocks=[number]) for number in (1, 2)]
    asked = DrawRule(0.0, 1.0, 0, 0, 0, report_top=1)
    drawn = runner.run([Chunk(one, 0, 2, draws=True) for one in texts], {1: asked, 2: GREEDY})
    assert isinstance(drawn, Draws)
    assert drawn.reports.keys() == {1}
    assert drawn.reports[1].token == drawn[1]
    assert drawn.reports[1].logprob <= 0
    assert drawn.reports[1].top == ((drawn[1], drawn.reports[1].logprob),)


def generate(
    runner: Runner, prompts: list[list[int]], *, step: int, blocks: int
) -> list[list[int]]:
    limits = BatchLimits(
        step_tokens_max=step, sequences_max=8, block_tokens=BLOCK, chunk_tokens_max=step
    )
    batch = Batch(BlockPool(blocks), limits)
    texts = [Sequence(number, list(prompt)) for number, prompt in enumerate(prompts)]
    for text in texts:
        batch.add(text)
    while batch.running or batch.waiting:
        plan = batch.plan_step()
        drawn = runner.run(plan.chunks, {chunk.sequence.id: GREEDY for chunk in plan.chunks})
        batch.settle(plan, {key: token for key, token in drawn.items() if token is not None})
        for text in list(batch.running):
            if len(text.tokens) == text.prompt_count + 5:
                batch.end(text)
    batch.pool.check_integrity()
    return [text.tokens for text in texts]


def test_plans_of_any_shape_give_the_same_texts(runner: Runner) -> None:
    chance = random.Random(2)
    prompts = [[chance.randrange(3, 200) for _ in range(count)] for count in (1, 9, 14, 9)]
    whole = generate(runner, prompts, step=64, blocks=40)
    assert generate(runner, prompts, step=3, blocks=40) == whole
    assert generate(runner, prompts, step=16, blocks=8) == whole
