"""Is it right? Kernels against plain torch, texts against each other and against transformers."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, product
from typing import Any

import torch

from support.paged_steps import draw_step
from tokenyard.engine.model.device import AttentionPath, DevicePaths
from tokenyard.engine.model.device_operations import bind
from tokenyard.engine.model.paged import AttentionRule, attend_plainly
from tokenyard.engine.rules.batching import BatchLimits
from tokenyard.fleet.rules.capacity import ModelShape
from tools.gpu_check.models import (
    BLOCK_TOKENS,
    Machine,
    draw_model,
    make_runner,
    make_transformers,
    read_transformers,
)
from tools.gpu_check.play import Request, play

TOLERANCE = {torch.float32: 2e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}
# Rows of a sequence in the step, and its tokens in all; 0 is a padding row.
CHUNKS = ((1, 1), (5, 5), (1, 33), (70, 200), (1, 1000), (130, 130), (3, 515))
DECODES = ((1, 1), (1, 0), (1, 16), (1, 17), (1, 1023), (1, 300), (1, 64), (1, 2048))
HEADS = ((4, 4), (9, 3), (32, 8), (14, 2), (8, 1))
RULES = ((0, 0.0), (100, 0.0), (0, 20.0))
SMALL = ModelShape("Qwen3-small", 3, 128, 4, 2, 64, 256, 512, tied=False)
BLOCKS = 128
PROMPTS = (1, 15, 16, 17, 33, 48, 64, 100)


class CheckFailed(Exception):
    """Something is not as it has to be."""


@dataclass(frozen=True, slots=True)
class _Case:
    path: AttentionPath
    dtype: torch.dtype
    width: int
    heads: int
    kv_heads: int
    rule: AttentionRule
    parts: tuple[tuple[int, int], ...]


def check_kernels(machine: Machine, *, tiny: bool) -> dict[str, Any]:
    """Largest difference of each path from plain torch, over shapes, types, windows and caps."""
    worst: dict[str, float] = {}
    count = 0
    for case in _list_cases(machine, tiny=tiny):
        name = f"{case.path} {str(case.dtype).removeprefix('torch.')}"
        difference = _compare(machine, case)
        worst[name] = max(worst.get(name, 0.0), difference)
        count += 1
        if not difference <= TOLERANCE[case.dtype]:
            raise CheckFailed(f"{case} differs by {difference}")
    return {"cases": count, "largest_difference": worst}


def _list_cases(machine: Machine, *, tiny: bool) -> Iterator[_Case]:
    """Each type with each width, heads and rules in turn; all rules for the usual shape.

    Not each with each: a case is compiled anew, for a second or two.
    """
    paths = {machine.paths.chunks, machine.paths.decodes}
    if machine.is_gpu and machine.facts.triton:
        paths.add(AttentionPath.TRITON)
    usual = ((torch.bfloat16, 128, HEADS[2], rule) for rule in RULES)
    crossed = product(TOLERANCE, (64,) if tiny else (64, 80, 96, 128, 256))
    turns = zip(crossed, cycle(HEADS), cycle(RULES), strict=False)
    shapes = [*((dtype, width, heads, rule) for (dtype, width), heads, rule in turns), *usual]
    for path in sorted(paths):
        for dtype, width, (heads, kv_heads), (window, cap) in shapes:
            # What torch's own path cannot do, we do not ask of it.
            varlen = path is AttentionPath.VARLEN
            if varlen and (cap or dtype is torch.float32 or width % 32):
                continue
            rule = AttentionRule(width**-0.5, window, cap)
            for parts in (CHUNKS[:4], DECODES[:5]) if tiny else (CHUNKS, DECODES):
                yield _Case(path, dtype, width, heads, kv_heads, rule, parts)


def _compare(machine: Machine, case: _Case) -> float:
    paths = DevicePaths(machine.device, case.path, machine.paths.decodes, machine.paths.reason)
    operations = bind(paths, machine.processors)
    item_bytes = case.dtype.itemsize
    drawn = draw_step(
        case.parts,
        heads=case.heads,
        kv_heads=case.kv_heads,
        width=case.width,
        dtype=case.dtype,
        tile_queries=operations.tile_queries(case.width, case.heads // case.kv_heads, item_bytes),
        device=machine.device,
    )
    found = operations.attend(drawn.queries, drawn.keys, drawn.values, drawn.step, case.rule)
    expected = attend_plainly(drawn.queries, drawn.keys, drawn.values, drawn.step, case.rule)
    return float((found.float() - expected.float()).abs().max())


def _limits(step: int) -> BatchLimits:
    return BatchLimits(step, 16, BLOCK_TOKENS, step)


def _draw_requests(vocabulary: int, tokens: int, sizes: Sequence[int]) -> list[Request]:
    chance = random.Random(1)
    return [
        Request(tuple(chance.randrange(vocabulary) for _ in range(size)), tokens) for size in sizes
    ]


def check_engine(machine: Machine, *, tiny: bool) -> dict[str, Any]:
    """In float32 the same texts for each chunk size, with graphs or without, when some give way."""
    shape, weights = draw_model(machine, SMALL, 512, torch.float32)
    # Random weights of the usual spread give logits that are all but equal.
    for layer in weights.layers:
        for tensor in (layer.qkv, layer.attention_out, layer.gate_up, layer.down):
            tensor.mul_(5.0)
    requests = _draw_requests(
        shape.vocabulary, 12 if tiny else 40, PROMPTS[:4] if tiny else PROMPTS
    )
    expected: list[list[int]] | None = None
    ways = 0
    for graph_sizes in ((), (1, 2, 4, 8, 16)):
        runner = make_runner(
            machine,
            shape,
            weights,
            blocks=BLOCKS,
            sequences_max=16,
            step_tokens_max=512,
            graph_sizes=graph_sizes,
        )
        runner.warm_up()
        crowded = 5 if tiny else 30
        for step, blocks in ((512, BLOCKS), (1, BLOCKS), (7, BLOCKS), (64, BLOCKS), (512, crowded)):
            played = play(runner, requests, _limits(step), blocks=blocks)
            expected = expected or played.texts
            if played.texts != expected:
                raise CheckFailed(f"texts differ at step {step}, graphs {graph_sizes}")
            if blocks == crowded and not played.preemptions:
                raise CheckFailed("nobody had to give way")
            ways += 1
    return {"ways_with_equal_texts": ways}


def check_parity(machine: Machine, *, tiny: bool) -> dict[str, Any]:
    """Greedy texts of small random Llama, Qwen2 and Qwen3 models equal those of transformers."""
    import transformers  # noqa: PLC0415

    sizes = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "tie_word_embeddings": False,
        "eos_token_id": None,
        "bos_token_id": None,
        "pad_token_id": 0,
    }
    equal = {}
    for family in ("Llama", "Qwen2", "Qwen3"):
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(**sizes)
        if family == "Qwen3":
            config.head_dim = 64
        model = make_transformers(config, torch.float32)
        for name, parameter in model.named_parameters():
            if name.endswith(("bias", "norm.weight")):
                parameter.data += torch.randn_like(parameter) * 0.2
        model = model.to(machine.device).eval()
        shape, weights = read_transformers(model, machine.device)
        runner = make_runner(
            machine, shape, weights, blocks=BLOCKS, sequences_max=16, step_tokens_max=512
        )
        requests = _draw_requests(512, 8 if tiny else 24, PROMPTS[:3] if tiny else PROMPTS)
        found = play(runner, requests, _limits(64)).texts
        for request, text in zip(requests, found, strict=True):
            prompt = torch.tensor([request.prompt], device=machine.device)
            made = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=request.tokens,
                do_sample=False,
            )
            if made[0].tolist() != text:
                raise CheckFailed(f"{family}: {text} is not transformers' {made[0].tolist()}")
        equal[family] = len(found)
    return {"equal_texts": equal}
