"""Greedy texts of several prompts, written as the engine writes them: planned, computed, booked."""

from collections.abc import Sequence as Sequence_

from tokenyard.engine.model.runner import TorchRunner
from tokenyard.engine.rules.batching import Batch, BatchLimits, Sequence
from tokenyard.engine.rules.drawing import DrawRule
from tokenyard.engine.rules.paging import BlockPool

GREEDY = DrawRule(temperature=0.0, top_p=1.0, top_k=0, seed=0, position=0)


def continue_greedily(
    runner: TorchRunner,
    prompts: Sequence_[list[int]],
    count: int,
    limits: BatchLimits,
    *,
    prefix_cache: bool = True,
) -> list[list[int]]:
    """The `count` tokens that follow each prompt, in the prompts' order."""
    batch = Batch(BlockPool(runner.block_count), limits, prefix_cache=prefix_cache)
    texts = [Sequence(number, list(prompt)) for number, prompt in enumerate(prompts)]
    for text in texts:
        batch.add(text)
    while batch.running or batch.waiting:
        plan = batch.plan_step()
        drawn = runner.run(plan.chunks, {one.sequence.id: GREEDY for one in plan.chunks})
        batch.settle(plan, {key: token for key, token in drawn.items() if token is not None})
        for text in list(batch.running):
            if len(text.tokens) == text.prompt_count + count:
                batch.end(text)
    return [text.tokens[text.prompt_count :] for text in texts]
