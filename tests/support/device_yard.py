"""A model on a device that is late or early at the extreme, and texts made as the loop does."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tokenyard.engine.delayed import Immediate
from tokenyard.engine.model.checkpoints import open_checkpoint, read_shape
from tokenyard.engine.model.device import AttentionPath, DevicePaths, PathReason
from tokenyard.engine.model.device_decoder import DeviceDecoder
from tokenyard.engine.model.device_operations import bind
from tokenyard.engine.model.device_queue import HostQueue
from tokenyard.engine.model.device_runner import DeviceRunner
from tokenyard.engine.model.device_weights import read_weights
from tokenyard.engine.model.runner import TorchRunner
from tokenyard.engine.ports import Device
from tokenyard.engine.rules.batching import Batch, BatchLimits, StepPlan
from tokenyard.engine.rules.batching import Sequence as Text
from tokenyard.engine.rules.drawing import Adjustment, DrawRule
from tokenyard.engine.rules.paging import BlockPool

BLOCK = 4
PLAIN = DevicePaths("cpu", AttentionPath.PLAIN, AttentionPath.PLAIN, PathReason.NO_GPU)
MakeRule = Callable[[Text], DrawRule]


def make_device(
    path: Path,
    *,
    blocks: int = 60,
    graph_sizes: Sequence[int] = (1, 2, 4),
    step: int = 64,
    paths: DevicePaths = PLAIN,
    late: bool = True,
) -> DeviceRunner:
    with open_checkpoint(path) as file:
        shape = read_shape(file)
        decoder = DeviceDecoder(
            shape,
            read_weights(file, shape, "cpu", torch.float32),
            bind(paths, 2),
            block_count=blocks,
            block_tokens=BLOCK,
        )
    return DeviceRunner(
        decoder,
        HostQueue(late=late),
        block_count=blocks,
        step_tokens_max=step,
        sequences_max=8,
        graph_sizes=graph_sizes,
    )


def make_cpu(path: Path) -> Immediate:
    with open_checkpoint(path) as file:
        size = read_shape(file).kv_bytes_per_token * BLOCK
        return Immediate(
            TorchRunner(
                file, weights="fp32", threads=1, kv_cache_bytes=61 * size, block_tokens=BLOCK
            )
        )


def greedy(text: Text) -> DrawRule:
    return DrawRule(0.0, 1.0, 0, 0, len(text.tokens))


def mixed(text: Text) -> DrawRule:
    """Greedy rows beside rows with all that a rule can ask for."""
    adjustment = None
    if text.waits_for_tokens:
        adjustment = Adjustment(
            bias=((9, 2.0),), repetition=1.3, frequency=0.5, presence=0.2, banned=(40,)
        )
    return DrawRule(
        (0.0, 0.8, 1.4)[text.id % 3],
        (1.0, 0.9)[text.id % 2],
        (0, 20)[text.id % 2],
        seed=text.id,
        position=len(text.tokens),
        min_p=(0.0, 0.02)[text.id % 2],
        adjustment=adjustment,
        # All but the tokens whose number has a remainder of 7 by 8.
        allowed=b"\x7f" * 34 if text.waits_for_tokens else None,
    )


def generate(
    device: Device,
    prompts: Sequence[Sequence[int]],
    rule: MakeRule = greedy,
    *,
    count: int = 9,
    step: int = 64,
    blocks: int = 60,
) -> tuple[list[list[int]], int]:
    """As the loop does it: texts of `count` new tokens, and how often one had to give way."""
    limits = BatchLimits(step, sequences_max=8, block_tokens=BLOCK, chunk_tokens_max=step)
    batch = Batch(BlockPool(blocks), limits)
    texts = [
        Text(number, list(prompt), full_count=len(prompt) + count)
        for number, prompt in enumerate(prompts)
    ]
    for text in texts:
        text.waits_for_tokens = rule is mixed and text.id % 4 == 3
        batch.add(text)
    flights: list[tuple[StepPlan, object]] = []
    while batch.running or batch.waiting or flights:
        plan = batch.plan_step()
        if plan.chunks:
            rules = {chunk.sequence.id: rule(chunk.sequence) for chunk in plan.chunks}
            flights.append((plan, device.launch(plan.chunks, rules)))
            batch.advance(plan)
        while len(flights) > (device.lag if plan.chunks else 0):
            landed, ticket = flights.pop(0)
            drawn = device.collect(ticket)
            batch.learn(landed, {key: token for key, token in drawn.items() if token is not None})
            for chunk in landed.chunks:
                text = chunk.sequence
                if not text.unknown and len(text.tokens) == text.full_count:
                    batch.end(text)
    batch.pool.check_integrity()
    assert batch.pool.used == 0
    return [text.tokens for text in texts], sum(text.preemptions for text in texts)
