"""Paged attention as Triton kernels: prompt chunks and decodes in one launch, long decodes split.

`attend` takes the tiles kernel for steps with prompt chunks and the split kernel when every
sequence brings one row. The query heads that share a key head are packed into the rows of one tile
(grouped queries), so keys and values are read once for all of them. Scores, sums and the mixed
values are float32. Blocks beyond a sequence's length are never read, so what they hold, NaN
included, cannot spread. Does not know layers, weights or graphs.
Sources: FlashAttention-2 (arXiv 2307.08691) for the running softmax, FlashDecoding for the split
of keys, vLLM (arXiv 2309.06180) for paging.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokenyard.engine.model.paged import AttentionRule, PagedStep

# Programs that a launch should have for each processor of the GPU, so that none is idle.
PROGRAMS_PER_PROCESSOR = 2
SPLITS_MAX = 64
# The least that a matrix product of Triton takes.
TILE_MIN = 16


@dataclass(frozen=True, slots=True)
class Tiling:
    """Sizes of one launch. queries: packed rows of a tile. keys: tokens of one turn of the loop."""

    queries: int
    keys: int
    warps: int
    stages: int


def choose_tiling(width: int, group: int, item_bytes: int, *, decode: bool) -> Tiling:
    """A tile that fits shared memory and registers on sm80 and later; powers of two.

    width: of one head, in numbers. group: query heads for each key head.
    """
    least = max(TILE_MIN, triton.next_power_of_2(group))
    narrow = triton.next_power_of_2(width) * item_bytes <= 256
    if item_bytes > 2:
        # float32 has no tensor cores to go to: larger tiles spill registers.
        return Tiling(queries=least, keys=32 if narrow else 16, warps=4, stages=2)
    keys = 64 if narrow else 32
    if decode:
        return Tiling(queries=least, keys=keys, warps=4, stages=3 if narrow else 2)
    return Tiling(queries=max(least, keys), keys=keys, warps=4, stages=2)


def count_splits(sequences: int, kv_heads: int, processors: int) -> int:
    """Parts that the keys of each sequence are cut into: a power of two."""
    wanted = -(-PROGRAMS_PER_PROCESSOR * processors // max(1, sequences * kv_heads))
    return int(min(SPLITS_MAX, triton.next_power_of_2(wanted)))


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    step: PagedStep,
    rule: AttentionRule,
    *,
    splits: int = 1,
    tiling: Tiling | None = None,
) -> Tensor:
    """As `paged.attend_plainly`; the last dimension of all three must be contiguous.

    splits: for steps of decodes alone, from `count_splits`.
    """
    group, width = queries.shape[1] // keys.shape[0], queries.shape[2]
    decode = step.rows_max == 1
    if tiling is None:
        tiling = choose_tiling(width, group, queries.element_size(), decode=decode)
    if decode:
        return _attend_decodes(queries, keys, values, step, rule, tiling, splits)
    result = queries.new_empty(queries.shape)
    if step.tile_sequences is None or step.tile_rows is None:
        raise ValueError("a step with prompt chunks needs its tiles")
    _tiles_kernel[(len(step.tile_sequences), keys.shape[0])](
        queries,
        keys,
        values,
        result,
        step.tables,
        step.lines,
        step.row_starts,
        step.lengths,
        step.tile_sequences,
        step.tile_rows,
        *_numbers(queries, keys, values, step),
        **_constants(queries, keys, step, rule, tiling),
    )
    return result


def tile_queries(width: int, group: int, item_bytes: int) -> int:
    """Rows of a sequence that one tile of the tiles kernel takes."""
    return choose_tiling(width, group, item_bytes, decode=False).queries // group


def _attend_decodes(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    step: PagedStep,
    rule: AttentionRule,
    tiling: Tiling,
    splits: int,
) -> Tensor:
    rows, heads, width = queries.shape
    result = queries.new_empty(queries.shape)
    if splits == 1:
        parts, peaks = result, result
    else:
        parts = queries.new_empty((rows, heads, splits, width), dtype=torch.float32)
        peaks = queries.new_empty((rows, heads, splits), dtype=torch.float32)
    _split_kernel[(rows, keys.shape[0], splits)](
        queries,
        keys,
        values,
        parts,
        peaks,
        step.tables,
        step.lines,
        step.lengths,
        *_numbers(queries, keys, values, step),
        splits=splits,
        **_constants(queries, keys, step, rule, tiling),
    )
    if splits > 1:
        _merge_kernel[(rows, heads)](
            parts,
            peaks,
            result,
            heads=heads,
            splits=splits,
            width=width,
            width_padded=triton.next_power_of_2(width),
        )
    return result


def _numbers(queries: Tensor, keys: Tensor, values: Tensor, step: PagedStep) -> tuple[int, ...]:
    """The arguments that all kernels take alike, in their order."""
    if queries.stride(2) != 1 or keys.stride(2) != 1 or keys.stride() != values.stride():
        raise ValueError("heads must be whole in memory, and keys laid out as values")
    return (
        queries.stride(0),
        queries.stride(1),
        keys.stride(0),
        keys.stride(1),
        step.tables.stride(0),
    )


def _constants(
    queries: Tensor, keys: Tensor, step: PagedStep, rule: AttentionRule, tiling: Tiling
) -> dict[str, int | float | str]:
    width = queries.shape[2]
    return {
        "scale": rule.scale,
        "window": rule.window,
        "cap": rule.cap,
        "products": _choose_products(queries.dtype),
        "group": queries.shape[1] // keys.shape[0],
        "width": width,
        "width_padded": triton.next_power_of_2(width),
        "block_tokens": step.block_tokens,
        "tile_m": tiling.queries,
        "tile_n": tiling.keys,
        "num_warps": tiling.warps,
        "num_stages": tiling.stages,
    }


def _choose_products(dtype: torch.dtype) -> str:
    """Triton's interpreter multiplies bf16 as if they were integers, hence "widened"."""
    if dtype == torch.float32:
        return "32 bit"
    if dtype == torch.bfloat16 and triton.knobs.runtime.interpret:
        return "widened"
    return "16 bit"


@triton.jit
def _fold(
    asked,
    keys,
    values,
    table,
    begin,
    end,
    positions,
    slot_stride,
    scale: tl.constexpr,
    window: tl.constexpr,
    cap: tl.constexpr,
    products: tl.constexpr,
    width: tl.constexpr,
    width_padded: tl.constexpr,
    block_tokens: tl.constexpr,
    tile_m: tl.constexpr,
    tile_n: tl.constexpr,
):
    """Tokens [begin, end) into running sums: mixed values, highest score (base 2), weight."""
    log2e: tl.constexpr = 1.4426950408889634
    precision: tl.constexpr = "tf32" if products == "16 bit" else "ieee"
    numbers = tl.arange(0, width_padded)
    if products == "widened":
        asked = asked.to(tl.float32)
    mixed = tl.zeros((tile_m, width_padded), dtype=tl.float32)
    highest = tl.full((tile_m,), float("-inf"), dtype=tl.float32)
    weight = tl.zeros((tile_m,), dtype=tl.float32)
    for first in range(begin, end, tile_n):
        columns = first + tl.arange(0, tile_n)
        stored = columns < end
        blocks = tl.load(table + columns // block_tokens, mask=stored, other=0).to(tl.int64)
        slots = blocks * block_tokens + columns % block_tokens
        there = stored[:, None] & (numbers < width)[None, :]
        key = tl.load(keys + slots[:, None] * slot_stride + numbers[None, :], mask=there, other=0.0)
        if products == "widened":
            key = key.to(tl.float32)
        scores = tl.dot(asked, tl.trans(key), input_precision=precision) * scale
        if cap > 0.0:
            # tanh by the logistic function, which Triton has.
            scores = cap * (2.0 * tl.sigmoid(2.0 * scores / cap) - 1.0)
        seen = stored[None, :] & (columns[None, :] <= positions[:, None])
        if window > 0:
            seen = seen & (columns[None, :] > positions[:, None] - window)
        scores = tl.where(seen, scores * log2e, float("-inf"))
        peak = tl.maximum(highest, tl.max(scores, 1))
        # A row that has seen nothing yet has no peak to subtract.
        level = tl.where(peak == float("-inf"), 0.0, peak)
        shares = tl.exp2(scores - level[:, None])
        shrink = tl.exp2(highest - level)
        value = tl.load(
            values + slots[:, None] * slot_stride + numbers[None, :], mask=there, other=0.0
        )
        parts = shares.to(value.dtype)
        if products == "widened":
            parts, value = parts.to(tl.float32), value.to(tl.float32)
        mixed = tl.dot(parts, value, mixed * shrink[:, None], input_precision=precision)
        weight = weight * shrink + tl.sum(shares, 1)
        highest = peak
    return mixed, highest, weight


@triton.jit
def _tiles_kernel(
    queries,
    keys,
    values,
    result,
    tables,
    lines,
    row_starts,
    lengths,
    tile_sequences,
    tile_rows,
    query_row_stride,
    query_head_stride,
    head_stride,
    slot_stride,
    table_stride,
    scale: tl.constexpr,
    window: tl.constexpr,
    cap: tl.constexpr,
    products: tl.constexpr,
    group: tl.constexpr,
    width: tl.constexpr,
    width_padded: tl.constexpr,
    block_tokens: tl.constexpr,
    tile_m: tl.constexpr,
    tile_n: tl.constexpr,
):
    """One tile of one sequence's rows, for the query heads of one key head."""
    kv_head = tl.program_id(1).to(tl.int64)
    sequence = tl.load(tile_sequences + tl.program_id(0))
    first_row = tl.load(tile_rows + tl.program_id(0))
    start = tl.load(row_starts + sequence)
    count = tl.load(row_starts + sequence + 1) - start
    length = tl.load(lengths + sequence)
    packed = tl.arange(0, tile_m)
    rows = first_row + packed // group
    heads = kv_head * group + packed % group
    in_tile = (packed < tile_m // group * group) & (rows < count)
    positions = length - count + rows
    numbers = tl.arange(0, width_padded)
    there = in_tile[:, None] & (numbers < width)[None, :]
    rows_in = (start + rows).to(tl.int64) * query_row_stride + heads * query_head_stride
    asked = tl.load(queries + rows_in[:, None] + numbers[None, :], mask=there, other=0.0)
    begin = 0
    if window > 0:
        begin = tl.maximum(0, length - count + first_row - window + 1) // tile_n * tile_n
    # The last row of the tile sees the most; none sees beyond the text.
    end = tl.minimum(length, length - count + first_row + tile_m // group)
    mixed, _, weight = _fold(
        asked,
        keys + kv_head * head_stride,
        values + kv_head * head_stride,
        tables + tl.load(lines + sequence).to(tl.int64) * table_stride,
        begin,
        end,
        positions,
        slot_stride,
        scale,
        window,
        cap,
        products,
        width,
        width_padded,
        block_tokens,
        tile_m,
        tile_n,
    )
    mixed = mixed / tl.where(weight == 0.0, 1.0, weight)[:, None]
    rows_out = (start + rows).to(tl.int64) * (tl.num_programs(1) * group) + heads
    places = rows_out[:, None] * width + numbers
    tl.store(result + places, mixed.to(result.dtype.element_ty), mask=there)


@triton.jit
def _split_kernel(
    queries,
    keys,
    values,
    parts,
    peaks,
    tables,
    lines,
    lengths,
    query_row_stride,
    query_head_stride,
    head_stride,
    slot_stride,
    table_stride,
    splits: tl.constexpr,
    scale: tl.constexpr,
    window: tl.constexpr,
    cap: tl.constexpr,
    products: tl.constexpr,
    group: tl.constexpr,
    width: tl.constexpr,
    width_padded: tl.constexpr,
    block_tokens: tl.constexpr,
    tile_m: tl.constexpr,
    tile_n: tl.constexpr,
):
    """One part of one sequence's keys for its newest row, for the query heads of one key head.

    With one split the result is final; else (part, base-2 log of its weight) goes to the merge.
    """
    sequence = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1).to(tl.int64)
    split = tl.program_id(2)
    length = tl.load(lengths + sequence)
    packed = tl.arange(0, tile_m)
    heads = kv_head * group + packed
    numbers = tl.arange(0, width_padded)
    there = (packed < group)[:, None] & (numbers < width)[None, :]
    places = sequence * query_row_stride + heads[:, None] * query_head_stride + numbers[None, :]
    asked = tl.load(queries + places, mask=there, other=0.0)
    begin = 0
    if window > 0:
        begin = tl.maximum(0, length - window) // tile_n * tile_n
    tiles = tl.cdiv(length - begin, tile_n)
    begin = begin + split * tl.cdiv(tiles, splits) * tile_n
    end = tl.minimum(length, begin + tl.cdiv(tiles, splits) * tile_n)
    mixed, highest, weight = _fold(
        asked,
        keys + kv_head * head_stride,
        values + kv_head * head_stride,
        tables + tl.load(lines + sequence).to(tl.int64) * table_stride,
        begin,
        end,
        packed * 0 + length - 1,
        slot_stride,
        scale,
        window,
        cap,
        products,
        width,
        width_padded,
        block_tokens,
        tile_m,
        tile_n,
    )
    mixed = mixed / tl.where(weight == 0.0, 1.0, weight)[:, None]
    rows_out = (sequence * (tl.num_programs(1) * group) + heads) * splits + split
    places = rows_out[:, None] * width + numbers[None, :]
    tl.store(parts + places, mixed.to(parts.dtype.element_ty), mask=there)
    if splits > 1:
        # Without a token the peak is -inf, and stays so.
        level = highest + tl.log2(tl.where(weight == 0.0, 1.0, weight))
        tl.store(peaks + rows_out, level, mask=packed < group)


@triton.jit
def _merge_kernel(
    parts,
    peaks,
    result,
    heads: tl.constexpr,
    splits: tl.constexpr,
    width: tl.constexpr,
    width_padded: tl.constexpr,
):
    """The parts of one row and head, weighed against each other."""
    number = tl.program_id(0).to(tl.int64) * heads + tl.program_id(1)
    pieces = tl.arange(0, splits)
    numbers = tl.arange(0, width_padded)
    levels = tl.load(peaks + number * splits + pieces)
    peak = tl.max(levels, 0)
    shares = tl.exp2(levels - tl.where(peak == float("-inf"), 0.0, peak))
    weight = tl.sum(shares, 0)
    places = (number * splits + pieces)[:, None] * width + numbers[None, :]
    part = tl.load(parts + places, mask=(numbers < width)[None, :], other=0.0)
    mixed = tl.sum(part * shares[:, None], 0) / tl.where(weight == 0.0, 1.0, weight)
    tl.store(
        result + number * width + numbers, mixed.to(result.dtype.element_ty), mask=numbers < width
    )
