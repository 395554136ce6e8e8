"""The device's runner on a device that is as late or as early as may be, against the CPU's own.

So host memory that is reused or read too early, or fetched too late, shows. The kernels behind it
are plain torch here; their Triton twins are checked on their own.
"""

import asyncio
import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from support.device_yard import BLOCK, generate, greedy, make_cpu, make_device, mixed
from tokenyard.engine.front import Engine
from tokenyard.engine.model.device_runner import _pack
from tokenyard.engine.rules.batching import Batch, BatchLimits
from tokenyard.engine.rules.batching import Sequence as Text
from tokenyard.engine.rules.paging import BlockPool
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import EngineMetrics
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.generation import SamplingParameters
from tokenyard.vocabulary.reasons import Reason


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    chance = random.Random(3)
    shared = [chance.randrange(3, 200) for _ in range(9)]
    return [
        [7],
        [chance.randrange(3, 200) for _ in range(12)],
        [*shared, 11],
        [*shared, 12, 13],
        [chance.randrange(3, 200) for _ in range(17)],
        list(shared),
    ]


@pytest.fixture(scope="module")
def texts(tiny_model: Path, prompts: list[list[int]]) -> list[list[int]]:
    return generate(make_cpu(tiny_model), prompts)[0]


@pytest.mark.parametrize("step", [1, 7, 16, 64])
@pytest.mark.parametrize("late", [True, False], ids=["late", "early"])
@pytest.mark.parametrize("graph_sizes", [(), (1, 2, 4), (3, 8)], ids=str)
def test_chunks_and_graphs_change_nothing(
    tiny_model: Path,
    prompts: list[list[int]],
    texts: list[list[int]],
    step: int,
    graph_sizes: tuple[int, ...],
    late: bool,
) -> None:
    device = make_device(tiny_model, graph_sizes=graph_sizes, late=late)
    assert generate(device, prompts, step=step)[0] == texts
    # Again, with used blocks, other lines and a warm prefix cache.
    assert generate(device, prompts, step=step)[0] == texts


def test_preemption_changes_nothing(
    tiny_model: Path, prompts: list[list[int]], texts: list[list[int]]
) -> None:
    found, preemptions = generate(make_device(tiny_model), prompts, blocks=14)
    assert preemptions > 0
    assert found == texts


def test_all_rules_of_drawing_agree(tiny_model: Path, prompts: list[list[int]]) -> None:
    expected, _ = generate(make_cpu(tiny_model), prompts, mixed, count=14)
    assert generate(make_device(tiny_model), prompts, mixed, count=14)[0] == expected
    assert expected != generate(make_cpu(tiny_model), prompts, count=14)[0]


def test_warming_up_leaves_everything_as_it_was(
    tiny_model: Path, prompts: list[list[int]], texts: list[list[int]]
) -> None:
    device = make_device(tiny_model)
    device.warm_up()
    assert all(not pool.any() for pool in device._decoder.pool)
    assert generate(device, prompts)[0] == texts


def test_padding_leaves_the_null_block_alone(tiny_model: Path, prompts: list[list[int]]) -> None:
    device = make_device(tiny_model, graph_sizes=(8,))
    generate(device, prompts[:3])
    for pool in device._decoder.pool:
        assert not pool[:, :BLOCK].any()
        assert pool[:, BLOCK:].any()


def test_more_texts_than_lines_in_the_tables(tiny_model: Path) -> None:
    """Lines are taken back from texts that ended."""
    prompts = [[3 + number, 5, 6] for number in range(40)]
    expected, _ = generate(make_cpu(tiny_model), prompts, count=3)
    assert generate(make_device(tiny_model), prompts, count=3)[0] == expected


def test_a_nan_breaks_its_own_row_and_is_swept_out(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    table = np.random.default_rng(1).standard_normal((269, 32), dtype=np.float32)
    table[5] = np.nan
    # Untied, so that the poisoned row is in the embedding and not in the head.
    path = write_model(tmp_path / "m.gguf", tied=False, replace={"token_embd": table})
    device = make_device(path)
    batch = Batch(
        BlockPool(60), BatchLimits(64, sequences_max=4, block_tokens=BLOCK, chunk_tokens_max=64)
    )
    poisoned, healthy = Text(0, [5, 6]), Text(1, [6, 7])
    batch.add(poisoned)
    batch.add(healthy)
    flights = []
    for _ in range(2):
        plan = batch.plan_step()
        rules = {chunk.sequence.id: greedy(chunk.sequence) for chunk in plan.chunks}
        flights.append(device.launch(plan.chunks, rules))
        batch.advance(plan)
    # The second step was launched before the first one's NaN was known.
    for ticket in flights:
        drawn = device.collect(ticket)
        assert drawn[0] is None
        assert drawn[1] is not None
    device._queue.wait(device._queue.mark())
    first = poisoned.blocks[0] * BLOCK
    for pool in device._decoder.pool:
        assert not pool[:, first : first + BLOCK].any()


def test_the_queue_is_late(tiny_model: Path, prompts: list[list[int]]) -> None:
    """The fake is worth its name: before anybody waits, nothing is computed."""
    device = make_device(tiny_model)
    text = Text(1, [5, 6, 7], blocks=[1])
    limits = BatchLimits(64, sequences_max=4, block_tokens=BLOCK, chunk_tokens_max=64)
    batch = Batch(BlockPool(60), limits)
    batch.add(text)
    plan = batch.plan_step()
    ticket = device.launch(plan.chunks, {1: greedy(text)})
    assert all(not pool.any() for pool in device._decoder.pool)
    device.collect(ticket)
    assert all(pool.any() for pool in device._decoder.pool)


def test_buffers_travel_in_aligned_fields() -> None:
    """Triton compiles anew for an address that is not a multiple of 16 bytes."""
    buffer = torch.zeros(40, dtype=torch.int32)
    places = _pack(buffer, {"tokens": [1, 2, 3, 4, 5], "slots": [6], "places": [], "blocks": [7]})
    assert places == {"tokens": (0, 5), "slots": (8, 9), "places": (12, 12), "blocks": (12, 13)}
    assert buffer[:14].tolist() == [1, 2, 3, 4, 5, 0, 0, 0, 6, 0, 0, 0, 7, 0]


async def test_what_a_device_does_not_do_is_refused_by_name(
    tiny_model: Path, tokenizer: Tokenizer
) -> None:
    engine = Engine(
        make_device(tiny_model),
        tokenizer,
        EngineSettings(block_tokens=BLOCK, step_tokens_max=16, sequences_max=8),
        clock=RealClock(),
        randomness=SeededRandomness(1),
        log=Log(io.StringIO(), RealClock()),
        metrics=EngineMetrics(),
        broken=lambda: None,
    )
    refused = []
    with pytest.raises(InvalidRequest) as error:
        engine.submit([7], SamplingParameters(report_top=1))
    refused.append(error.value)
    with pytest.raises(InvalidRequest) as error:
        engine.submit([7], SamplingParameters(prompt_top=1))
    refused.append(error.value)
    with pytest.raises(InvalidRequest) as error:
        engine.submit_embeddings([[7]])
    refused.append(error.value)
    with pytest.raises(InvalidRequest) as error:
        await engine.adapters.load("law", tiny_model, 0.0)
    refused.append(error.value)
    assert {one.reason for one in refused} == {Reason.UNSUPPORTED_PARAMETER}
    assert [one.param for one in refused] == ["logprobs", "prompt_logprobs", "model", "lora_name"]


async def test_the_engine_answers_through_a_device(tiny_model: Path, tokenizer: Tokenizer) -> None:
    """The whole loop over the late device gives the texts that it gives over the CPU's runner."""
    found = []
    for runner in (make_device(tiny_model), make_cpu(tiny_model)):
        engine = Engine(
            runner,
            tokenizer,
            EngineSettings(block_tokens=BLOCK, step_tokens_max=16, sequences_max=8),
            clock=RealClock(),
            randomness=SeededRandomness(1),
            log=Log(io.StringIO(), RealClock()),
            metrics=EngineMetrics(),
            broken=lambda: None,
        )
        engine.start()
        try:
            asked = [
                engine.submit(
                    tokenizer.encode("hello world" * size, specials=False),
                    SamplingParameters(
                        temperature=size % 2, seed=size, max_tokens=12, ignore_eos=True
                    ),
                )
                for size in range(1, 7)
            ]
            texts = [[piece.text async for piece in one] for one in asked]
        finally:
            await asyncio.to_thread(engine.stop)
        found.append(["".join(pieces) for pieces in texts])
    assert found[0] == found[1]
    assert all(found[0])
