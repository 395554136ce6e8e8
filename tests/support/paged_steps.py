"""Random steps of paged attention: scattered blocks, and NaN wherever nothing may be read."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from tokenyard.engine.model.paged import PagedStep


@dataclass(frozen=True)
class Drawn:
    """queries: (rows, heads, width), a part of a wider tensor as in the decoder."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    step: PagedStep


def draw_step(
    parts: Sequence[tuple[int, int]],
    *,
    heads: int,
    kv_heads: int,
    width: int,
    dtype: torch.dtype = torch.float32,
    block_tokens: int = 16,
    tile_queries: int = 16,
    seed: int = 0,
    device: str = "cpu",
) -> Drawn:
    """parts: for each sequence its rows in this step and its tokens in all."""
    chance = torch.Generator().manual_seed(seed)
    needed = [-(-length // block_tokens) for _, length in parts]
    order = (torch.randperm(sum(needed), generator=chance) + 1).int()
    lines = torch.randperm(len(parts) + 2, generator=chance)[: len(parts)].int()
    # An unused entry points far outside: reading through it would fail or spread NaN.
    tables = torch.zeros(len(parts) + 2, max(*needed, 1), dtype=torch.int32)
    pool = torch.randn(2 * kv_heads, (sum(needed) + 1) * block_tokens, width, generator=chance)
    pool[:, :block_tokens] = torch.nan
    first = 0
    for line, (_, length), count in zip(lines.tolist(), parts, needed, strict=True):
        blocks = order[first : first + count]
        tables[line, :count] = blocks
        if length % block_tokens:
            start = int(blocks[-1]) * block_tokens
            pool[:, start + length % block_tokens : start + block_tokens] = torch.nan
        first += count
    rows = [count for count, _ in parts]
    tiles = [
        (number, row) for number, count in enumerate(rows) for row in range(0, count, tile_queries)
    ]
    pool = pool.to(device, dtype)
    mixed = torch.randn(sum(rows), heads + 2 * kv_heads, width, generator=chance)
    return Drawn(
        mixed.to(device, dtype)[:, :heads],
        pool[:kv_heads],
        pool[kv_heads:],
        PagedStep(
            row_starts=_integers([0, *accumulate(rows)], device),
            lengths=_integers([length for _, length in parts], device),
            lines=lines.to(device),
            tables=tables.to(device),
            block_tokens=block_tokens,
            length_max=max(length for _, length in parts),
            rows_max=max(rows),
            tile_sequences=_integers([number for number, _ in tiles], device),
            tile_rows=_integers([row for _, row in tiles], device),
        ),
    )


def _integers(values: Sequence[int], device: str) -> Tensor:
    return torch.tensor(values, dtype=torch.int32, device=device)
