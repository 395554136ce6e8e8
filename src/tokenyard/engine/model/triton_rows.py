"""The small steps between matrix products as Triton kernels, one launch each.

On a GPU the decode of a small model is bound by launches, not by arithmetic: a layer has four
matrix products, one or two launches of attention, and these. Sums are float32 whatever the rows
are. Each kernel's definition in plain torch is in `rows`. Does not know layers.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tokenyard.engine.model.rows import Turning

GATE_TILE = 1024


def add_norm(hidden: Tensor, change: Tensor | None, weight: Tensor, epsilon: float) -> Tensor:
    """As `rows.add_norm`."""
    rows, width = hidden.shape
    result = torch.empty_like(hidden)
    padded = triton.next_power_of_2(width)
    _add_norm_kernel[(rows,)](
        hidden,
        hidden if change is None else change,
        weight,
        result,
        epsilon=epsilon,
        adds=change is not None,
        width=width,
        width_padded=padded,
        num_warps=min(16, max(1, padded // 512)),
    )
    return result


def turn_and_store(
    qkv: Tensor, positions: Tensor, slots: Tensor, pool: Tensor, how: Turning
) -> None:
    """As `rows.turn_and_store`."""
    rows, all_heads, width = qkv.shape
    _turn_and_store_kernel[(rows, all_heads)](
        qkv,
        qkv if how.norms is None else how.norms,
        how.turns,
        positions,
        slots,
        pool,
        qkv.stride(0),
        pool.stride(0),
        heads=how.heads,
        kv_heads=(all_heads - how.heads) // 2,
        normed=how.norms is not None,
        neighbours=how.neighbours,
        epsilon=how.epsilon,
        half=width // 2,
        half_padded=triton.next_power_of_2(width // 2),
        num_warps=1,
    )


def gate(both: Tensor, gelu: bool = False) -> Tensor:
    """As `rows.gate`."""
    rows, width = both.shape[0], both.shape[1] // 2
    result = both.new_empty((rows, width))
    _gate_kernel[(rows, triton.cdiv(width, GATE_TILE))](
        both, result, gelu=gelu, width=width, tile=GATE_TILE
    )
    return result


@triton.jit
def _add_norm_kernel(
    hidden,
    change,
    weight,
    result,
    epsilon: tl.constexpr,
    adds: tl.constexpr,
    width: tl.constexpr,
    width_padded: tl.constexpr,
):
    numbers = tl.arange(0, width_padded)
    there = numbers < width
    places = tl.program_id(0).to(tl.int64) * width + numbers
    row = tl.load(hidden + places, mask=there, other=0.0)
    if adds:
        row = row.to(tl.float32) + tl.load(change + places, mask=there, other=0.0).to(tl.float32)
        row = row.to(hidden.dtype.element_ty)
        tl.store(hidden + places, row, mask=there)
    wide = row.to(tl.float32)
    scaled = wide * tl.rsqrt(tl.sum(wide * wide, 0) / width + epsilon)
    scale = tl.load(weight + numbers, mask=there, other=0.0).to(tl.float32)
    tl.store(result + places, (scaled * scale).to(result.dtype.element_ty), mask=there)


@triton.jit
def _turn_and_store_kernel(
    qkv,
    norms,
    turns,
    positions,
    slots,
    pool,
    row_stride,
    pool_stride,
    heads: tl.constexpr,
    kv_heads: tl.constexpr,
    normed: tl.constexpr,
    neighbours: tl.constexpr,
    epsilon: tl.constexpr,
    half: tl.constexpr,
    half_padded: tl.constexpr,
):
    row = tl.program_id(0)
    head = tl.program_id(1)
    pairs = tl.arange(0, half_padded)
    there = pairs < half
    first = pairs * 2 if neighbours else pairs
    second = first + 1 if neighbours else pairs + half
    start = qkv + row.to(tl.int64) * row_stride + head * (2 * half)
    left = tl.load(start + first, mask=there, other=0.0).to(tl.float32)
    right = tl.load(start + second, mask=there, other=0.0).to(tl.float32)
    if head < heads + kv_heads:
        if normed:
            line = norms + tl.where(head < heads, 0, 2 * half)
            square = tl.sum(left * left, 0) + tl.sum(right * right, 0)
            level = tl.rsqrt(square / (2 * half) + epsilon)
            left *= level * tl.load(line + first, mask=there, other=0.0).to(tl.float32)
            right *= level * tl.load(line + second, mask=there, other=0.0).to(tl.float32)
        turn = turns + tl.load(positions + row).to(tl.int64) * (2 * half)
        cos = tl.load(turn + pairs, mask=there, other=0.0)
        sin = tl.load(turn + half + pairs, mask=there, other=0.0)
        turned = left * cos - right * sin
        right = left * sin + right * cos
        left = turned
    kind = qkv.dtype.element_ty
    if head < heads:
        tl.store(start + first, left.to(kind), mask=there)
        tl.store(start + second, right.to(kind), mask=there)
    else:
        slot = tl.load(slots + row).to(tl.int64)
        kept = pool + (head - heads).to(tl.int64) * pool_stride + slot * (2 * half)
        tl.store(kept + first, left.to(kind), mask=there & (slot >= 0))
        tl.store(kept + second, right.to(kind), mask=there & (slot >= 0))


@triton.jit
def _gate_kernel(both, result, gelu: tl.constexpr, width: tl.constexpr, tile: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    numbers = tl.program_id(1) * tile + tl.arange(0, tile)
    there = numbers < width
    left = tl.load(both + row * (2 * width) + numbers, mask=there, other=0.0).to(tl.float32)
    right = tl.load(both + row * (2 * width) + width + numbers, mask=there, other=0.0)
    opening = left
    if gelu:
        # (1 + tanh(x)) / 2 is sigmoid(2 x); 2 * sqrt(2 / pi) is 1.5957691.
        opening = 1.5957691216057308 * (left + 0.044715 * left * left * left)
    mixed = left * tl.sigmoid(opening) * right.to(tl.float32)
    tl.store(result + row * width + numbers, mixed.to(result.dtype.element_ty), mask=there)
