"""The small steps between matrix products, in plain torch: what the kernels are held to.

They also serve a device without Triton. Rows may be of any float type; sums are float32.
Does not know layers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Turning:
    """How queries and keys are turned by their position, the same for every row of a layer.

    turns: (positions, width) float32, cosines then sines. norms: (2, width), weights of a norm of
    each query and each key before the turn (Qwen3). neighbours: whether a pair is two neighbours
    (GGUF's Llama), else it is a number of the first half and one of the second.
    """

    turns: Tensor
    norms: Tensor | None
    heads: int
    neighbours: bool
    epsilon: float


def add_norm(hidden: Tensor, change: Tensor | None, weight: Tensor, epsilon: float) -> Tensor:
    """Add `change` to `hidden` in place, and give its root-mean-square norm times `weight`.

    All are (rows, width), the weight (width,).
    """
    if change is not None:
        hidden += change
    wide = hidden.float()
    level = torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
    return (wide * level * weight.float()).to(hidden.dtype)


def turn_and_store(
    qkv: Tensor, positions: Tensor, slots: Tensor, pool: Tensor, how: Turning
) -> None:
    """Turn queries and keys by their position, queries in place; keys and values into the pool.

    qkv: (rows, heads + 2 * kv_heads, width). positions: (rows,). slots: (rows,), -1 for a row that
    is not stored. pool: (2 * kv_heads, slots, width).
    """
    heads, width = how.heads, qkv.shape[2]
    turning = (qkv.shape[1] + heads) // 2
    wide = qkv[:, :turning].float()
    if how.norms is not None:
        level = torch.rsqrt(wide.square().mean(-1, keepdim=True) + how.epsilon)
        weights = how.norms.float().repeat_interleave(
            torch.tensor([heads, turning - heads], device=qkv.device), 0
        )
        wide = wide * level * weights
    left, right = wide[..., 0::2], wide[..., 1::2]
    if not how.neighbours:
        left, right = wide[..., : width // 2], wide[..., width // 2 :]
    turn = how.turns[positions.long()].unsqueeze(1)
    cos, sin = turn[..., : width // 2], turn[..., width // 2 :]
    turned = (left * cos - right * sin, left * sin + right * cos)
    joined = torch.stack(turned, -1).flatten(-2) if how.neighbours else torch.cat(turned, -1)
    qkv[:, :turning] = joined.to(qkv.dtype)
    stored = slots >= 0
    pool[:, slots[stored].long()] = qkv[stored][:, heads:].transpose(0, 1)


def gate(both: Tensor, gelu: bool = False) -> Tensor:
    """SiLU, or GELU in its tanh form, of the first half times the second.

    (rows, 2 * width) to (rows, width).
    """
    left, right = both.float().chunk(2, -1)
    opened = functional.gelu(left, approximate="tanh") if gelu else functional.silu(left)
    return (opened * right).to(both.dtype)
