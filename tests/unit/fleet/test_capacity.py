"""KV arithmetic: known models on a known device, and what must hold for any."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.fleet.rules.capacity import (
    Dtype,
    ModelShape,
    block_bytes,
    describe,
    fit,
    token_bytes,
    tokens_that_fit,
    weights_bytes,
)
from tokenyard.fleet.rules.shapes import find_shape

GIB = 1024**3
# What an H200 reports as its memory.
H200_BYTES = 139 * GIB


@pytest.mark.parametrize(
    ("name", "pool_gib", "blocks", "of_2k", "of_8k"),
    [
        ("Qwen3-0.6B", "122.8", 71_837, 561, 140),
        ("Qwen3-8B", "108.6", 49_436, 386, 96),
        ("Llama-3.1-8B", "108.9", 55_768, 435, 108),
        ("Qwen3-14B", "96.4", 39_474, 308, 77),
        ("SmolLM2-135M", "123.6", 360_097, 2813, 703),
        ("SmolLM2-360M", "123.2", 201_860, 1577, 394),
        ("Llama-3.2-1B", "121.6", 248_992, 1945, 486),
    ],
)
def test_known_models_on_an_h200(
    name: str, pool_gib: str, blocks: int, of_2k: int, of_8k: int
) -> None:
    capacity = fit(find_shape(name), H200_BYTES)
    assert f"{capacity.pool_bytes / GIB:.1f}" == pool_gib
    assert capacity.blocks == blocks
    assert (capacity.sequences(2048), capacity.sequences(8192)) == (of_2k, of_8k)


def test_the_sentence() -> None:
    capacity = fit(find_shape("Qwen3-8B"), H200_BYTES)
    expected = "KV cache: 790,976 tokens, at most 96 sequences of 8,192 tokens"
    assert describe(capacity, 8192) == expected


def test_a_cache_of_half_the_width_holds_twice_the_tokens() -> None:
    shape = find_shape("Qwen3-8B")
    full, half = fit(shape, H200_BYTES), fit(shape, H200_BYTES, kv=Dtype.FP8)
    assert half.token_bytes * 2 == full.token_bytes
    assert half.blocks in {full.blocks * 2, full.blocks * 2 + 1}


def test_what_does_not_fit_has_no_blocks() -> None:
    capacity = fit(find_shape("Qwen3-14B"), 24 * GIB)
    assert (capacity.blocks, capacity.tokens, capacity.sequences(1)) == (0, 0, 0)


sizes = st.integers(1, 64)
shapes = st.builds(
    ModelShape,
    name=st.just("any"),
    layers=sizes,
    hidden=sizes.map(lambda n: n * 64),
    heads=sizes,
    kv_heads=sizes,
    head_dim=st.sampled_from([32, 64, 128, 256]),
    ffn=sizes.map(lambda n: n * 128),
    vocabulary=st.integers(1, 300_000),
    tied=st.booleans(),
)


@given(
    shape=shapes,
    memory=st.integers(0, 1024 * GIB),
    kv=st.sampled_from(Dtype),
    block=st.sampled_from([1, 16, 32]),
    context=st.integers(1, 200_000),
)
def test_nothing_is_promised_twice(
    shape: ModelShape, memory: int, kv: Dtype, block: int, context: int
) -> None:
    capacity = fit(shape, memory, kv=kv, block_tokens=block, overhead_bytes=GIB)
    used = capacity.blocks * block_bytes(shape, kv, block)
    assert used <= capacity.pool_bytes
    assert capacity.pool_bytes - used < block_bytes(shape, kv, block)
    if capacity.blocks:
        assert used + weights_bytes(shape, Dtype.BF16) + GIB <= memory
    assert capacity.sequences(context) * context <= capacity.tokens
    assert capacity.tokens <= tokens_that_fit(capacity.pool_bytes, shape, kv)


@given(shape=shapes)
def test_the_counts_are_those_of_the_matrices(shape: ModelShape) -> None:
    each_head = shape.hidden * shape.head_dim
    layer = shape.heads * each_head * 2 + shape.kv_heads * each_head * 2
    layer += 3 * shape.hidden * shape.ffn
    outer = shape.hidden * shape.vocabulary * (1 if shape.tied else 2)
    assert shape.parameters == shape.layers * layer + outer
    assert token_bytes(shape, Dtype.FP32) == 8 * shape.layers * shape.kv_heads * shape.head_dim
