"""How fast is it, as a part of what this machine could do at best?

Best means: each byte moved at the speed of a large copy measured here, each product at the speed
of a large matrix product measured here (`fleet.rules.roofline`).
"""

import random
import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch

from tokenyard.engine.model.device_runner import DeviceRunner
from tokenyard.engine.rules.batching import BatchLimits
from tokenyard.fleet.rules.capacity import Dtype, ModelShape, token_bytes
from tokenyard.fleet.rules.roofline import Device, decode, prefill
from tokenyard.fleet.rules.shapes import find_shape
from tools.gpu_check import play as playing
from tools.gpu_check.models import (
    BLOCK_TOKENS,
    Machine,
    draw_model,
    make_runner,
    make_transformers,
)

TINY = ModelShape("Qwen3-tiny", 2, 64, 4, 2, 16, 128, 256, tied=True)
CONTEXT = 1024
# nano-vllm's benchmark: so many requests, prompts and answers of 100 to 1024 tokens, seed 0.
NANO_REQUESTS = 256
NANO_TOKENS = (100, 1024)
NANO_TEMPERATURE = 0.6
# What the workload must come to, so that it is the one that others measured.
NANO_SUMS = (142_827, 133_966)
# Bars that we set ourselves: batch sizes for decodes, and the workload.
TARGETS: dict[str, dict[str, float]] = {
    "Qwen3-8B": {"1": 0.75, "32": 0.70, "256": 0.60, "nano": 0.65},
    "Qwen3-0.6B": {"1": 0.30, "32": 0.45, "256": 0.60, "nano": 0.50},
}


class Stopwatch:
    """When the time for all is over. seconds: from now on."""

    def __init__(self, seconds: float) -> None:
        self._end = perf_counter() + seconds

    @property
    def left(self) -> float:
        return self._end - perf_counter()

    def expired(self) -> bool:
        return self.left < 0


def measure_peaks(machine: Machine, *, tiny: bool) -> dict[str, Any]:
    """Bytes a second of a large copy (read and written), and products a second, in bf16."""
    dtype = torch.bfloat16 if machine.is_gpu else torch.float32
    count = 1 << (20 if tiny else 32)
    source = torch.zeros(count, dtype=torch.uint8, device=machine.device)
    target = torch.empty_like(source)
    copy = _median_seconds(machine, lambda: target.copy_(source))
    size = 128 if tiny else 8192
    left = torch.randn(size, size, device=machine.device, dtype=dtype)
    right = torch.randn(size, size, device=machine.device, dtype=dtype)
    product = _median_seconds(machine, lambda: left @ right)
    return {
        "copy_bytes_per_second": 2 * count / copy,
        "products_per_second": 2 * size**3 / product,
    }


def _median_seconds(machine: Machine, work: Callable[[], Any], rounds: int = 7) -> float:
    found = []
    for _ in range(rounds + 2):
        machine.wait()
        started = perf_counter()
        work()
        machine.wait()
        found.append(perf_counter() - started)
    return statistics.median(found[2:])


def measure_decode(
    machine: Machine, name: str, peaks: Device, watch: Stopwatch, *, tiny: bool
) -> dict[str, Any]:
    """Steps of decodes at each batch size, beside the best; not reached ones say so."""
    shape = TINY if tiny else find_shape(name)
    batches = (1, 3) if tiny else (1, 32, 256)
    context, warm, steps = (20, 2, 3) if tiny else (CONTEXT, 8, 40)
    dtype = torch.bfloat16 if machine.is_gpu else torch.float32
    kept = Dtype.BF16 if machine.is_gpu else Dtype.FP32
    needed = -(-(context + warm + steps + 1) // BLOCK_TOKENS)
    sizes, weights = draw_model(machine, shape, 2 * context, dtype)
    runner = make_runner(
        machine,
        sizes,
        weights,
        blocks=max(batches) * needed,
        sequences_max=max(batches),
        step_tokens_max=512,
        graph_sizes=batches,
    )
    for pool in runner.pool:
        pool.normal_(0.0, 0.5)
    results: dict[str, Any] = {}
    for batch in batches:
        if watch.expired():
            results[str(batch)] = {"not_reached": True}
            continue
        seconds = playing.decode(runner, [context] * batch, BLOCK_TOKENS, steps=steps, warm=warm)
        device = _graph_seconds(machine, runner, batch)
        best = decode(
            shape,
            peaks,
            sequences=batch,
            context_tokens=context + warm + steps // 2,
            weights=kept,
            kv=kept,
        )
        results[str(batch)] = {
            "step_ms": 1000 * seconds,
            "graph_ms": None if device is None else 1000 * device,
            "best_ms": 1000 * best.seconds,
            "fraction": best.seconds / seconds,
            "target": TARGETS.get(shape.name, {}).get(str(batch)),
            "tokens_per_second": batch / seconds,
        }
    return {"model": shape.name, "context_tokens": context, "batches": results}


def _graph_seconds(machine: Machine, runner: DeviceRunner, batch: int) -> float | None:
    """The captured decoder alone, without drawing and host work; None without a GPU."""
    replay = runner.graphs.get(batch)
    if replay is None or not machine.is_gpu:
        return None
    return _median_seconds(machine, replay)


def draw_nano_requests(*, tiny: bool) -> list[playing.Request]:
    """nano-vllm's workload; raises ValueError when Python's generator no longer gives it."""
    low, high = (5, 12) if tiny else NANO_TOKENS
    count = 6 if tiny else NANO_REQUESTS
    top = 200 if tiny else 10_000
    chance = random.Random(0)
    prompts = [
        tuple(chance.randint(0, top) for _ in range(chance.randint(low, high)))
        for _ in range(count)
    ]
    requests = [playing.Request(prompt, chance.randint(low, high)) for prompt in prompts]
    sums = sum(len(one.prompt) for one in requests), sum(one.tokens for one in requests)
    if not tiny and sums != NANO_SUMS:
        raise ValueError(f"the workload comes to {sums} tokens and not to {NANO_SUMS}")
    return requests


def best_seconds(shape: ModelShape, peaks: Device, requests: list[playing.Request]) -> float:
    """The least time for a workload: all prompts, then a step for each place in the answers."""
    total = sum(prefill(shape, peaks, tokens=len(one.prompt)).seconds for one in requests)
    for place in range(1, max(one.tokens for one in requests)):
        alive = [one for one in requests if one.tokens > place]
        context = sum(len(one.prompt) + place for one in alive) // len(alive)
        total += decode(shape, peaks, sequences=len(alive), context_tokens=context).seconds
    return total


def measure_nano(
    machine: Machine, name: str, peaks: Device, watch: Stopwatch, *, tiny: bool
) -> dict[str, Any]:
    """The workload with its own temperature, and greedily."""
    shape = TINY if tiny else find_shape(name)
    dtype = torch.bfloat16 if machine.is_gpu else torch.float32
    requests = draw_nano_requests(tiny=tiny)
    tokens = sum(one.tokens for one in requests)
    blocks = sum(-(-(len(one.prompt) + one.tokens) // BLOCK_TOKENS) for one in requests)
    count = len(requests)
    step = 64 if tiny else 16_384
    sizes, weights = draw_model(machine, shape, 64 if tiny else 4096, dtype)
    runner = make_runner(
        machine, sizes, weights, blocks=blocks, sequences_max=count, step_tokens_max=step
    )
    runner.warm_up()
    best = best_seconds(shape, peaks, requests)
    results: dict[str, Any] = {}
    for label, temperature in (("sampled", NANO_TEMPERATURE), ("greedy", 0.0)):
        if watch.expired():
            results[label] = {"not_reached": True}
            continue
        played = playing.play(
            runner,
            requests,
            BatchLimits(step, count, BLOCK_TOKENS, step),
            temperature=temperature,
            expired=watch.expired,
        )
        machine.wait()
        results[label] = {
            "seconds": played.seconds,
            "steps": played.steps,
            "tokens_per_second": tokens / played.seconds,
            "fraction": best / played.seconds,
        }
    return {
        "model": shape.name,
        "best_seconds": best,
        "target": TARGETS.get(shape.name, {}).get("nano"),
        "kv_gigabytes": blocks * BLOCK_TOKENS * token_bytes(shape, Dtype.BF16) / 1e9,
        "runs": results,
    }


def measure_transformers(machine: Machine, watch: Stopwatch, *, tiny: bool) -> dict[str, Any]:
    """transformers' continuous batching on a part of the workload, beside ours on the same part."""
    shape = TINY if tiny else find_shape("Qwen3-0.6B")
    dtype = torch.bfloat16 if machine.is_gpu else torch.float32
    # It takes one length for all answers.
    length, count = (4, 3) if tiny else (128, 64)
    requests = [
        playing.Request(one.prompt, length) for one in draw_nano_requests(tiny=tiny)[:count]
    ]
    # Its own thread updates tensors that are made here.
    with torch.inference_mode(False):
        tokens, seconds = _run_transformers(machine, shape, dtype, requests, tiny=tiny)
    machine.free()
    sizes, weights = draw_model(machine, shape, 4096, dtype)
    step = 64 if tiny else 8192
    runner = make_runner(
        machine,
        sizes,
        weights,
        blocks=sum(-(-(len(one.prompt) + one.tokens) // BLOCK_TOKENS) for one in requests),
        sequences_max=count,
        step_tokens_max=step,
    )
    runner.warm_up()
    limits = BatchLimits(step, count, BLOCK_TOKENS, step)
    ours = playing.play(runner, requests, limits, expired=watch.expired)
    return {
        "requests": count,
        "tokens_each": length,
        "transformers": {"seconds": seconds, "tokens_per_second": tokens / seconds},
        "ours": {"seconds": ours.seconds, "tokens_per_second": length * count / ours.seconds},
    }


def _run_transformers(
    machine: Machine,
    shape: ModelShape,
    dtype: torch.dtype,
    requests: list[playing.Request],
    *,
    tiny: bool,
) -> tuple[int, float]:
    """Tokens and seconds. Raises RuntimeError when an answer failed or is too short."""
    import transformers  # noqa: PLC0415

    config = transformers.Qwen3Config(
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=4096,
    )
    model = make_transformers(config, dtype).to(machine.device).eval()
    make: Any = transformers.GenerationConfig
    length = requests[0].tokens
    how = {
        "generation_config": make(
            max_new_tokens=length, do_sample=False, eos_token_id=-1, pad_token_id=0
        ),
        "progress_bar": False,
    }
    if tiny:
        # Else it takes most of the machine's memory for its cache.
        how["continuous_batching_config"] = transformers.ContinuousBatchingConfig(
            num_blocks=16, max_batch_tokens=64
        )
    prompts = [list(one.prompt) for one in requests]
    model.generate_batch(inputs=prompts[:2], **how)
    machine.wait()
    started = perf_counter()
    made = model.generate_batch(inputs=prompts, **how)
    machine.wait()
    seconds = perf_counter() - started
    tokens = sum(len(one.generated_tokens) for one in made.values())
    if tokens != length * len(requests):
        errors = {str(one.error) for one in made.values()}
        raise RuntimeError(
            f"transformers made {tokens} tokens of {length * len(requests)}: {errors}"
        )
    return tokens, seconds
