"""What paged attention is asked for, and the answer written down plainly in torch.

A step has sequences; each brings some query rows (the newest tokens of its text), and its keys and
values, those rows' own included, lie in the pool's blocks that its line of the block table names.
`attend_plainly` is the definition that every fast path is held to; it also serves a device
that has none. Does not know weights, layers or which path is used.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class AttentionRule:
    """How scores are made. window: 0 sees everything, W the newest W tokens, itself included.

    cap: 0 for none, else scores go through cap * tanh(score / cap) (Gemma 2, arXiv 2408.00118).
    """

    scale: float
    window: int = 0
    cap: float = 0.0


@dataclass(frozen=True, slots=True)
class PagedStep:
    """Where each sequence's rows and blocks are; all tensors are int32 on the device.

    Row i of a sequence that brings n rows and has `length` tokens stands at position
    length - n + i: the triangle is aligned to the lower right.
    """

    # (sequences + 1,): rows [row_starts[i], row_starts[i + 1]) are the queries of sequence i.
    row_starts: Tensor
    # (sequences,): tokens whose keys and values are stored; 0 for a padding row.
    lengths: Tensor
    # (sequences,): the sequence's line in `tables`.
    lines: Tensor
    # (lines, blocks): block numbers in the order of the text.
    tables: Tensor
    block_tokens: int
    # The longest of the sequences, and the most rows that one brings; known on the host.
    length_max: int
    rows_max: int
    # (tiles,) each: sequence of a tile and its first row inside the sequence, when rows_max > 1.
    tile_sequences: Tensor | None = None
    tile_rows: Tensor | None = None


def attend_plainly(
    queries: Tensor, keys: Tensor, values: Tensor, step: PagedStep, rule: AttentionRule
) -> Tensor:
    """Attention one sequence after the other, in float32.

    queries: (rows, heads, width). keys, values: (kv_heads, slots, width). Gives (rows, heads,
    width) in the type of the queries; rows of a sequence of length 0 are zero.
    """
    result = torch.zeros_like(queries)
    heads, kv_heads = queries.shape[1], keys.shape[0]
    starts = step.row_starts.tolist()
    offsets = torch.arange(step.block_tokens, device=queries.device)
    for number, length in enumerate(step.lengths.tolist()):
        first, last = starts[number], starts[number + 1]
        if length == 0 or first == last:
            continue
        blocks = step.tables[int(step.lines[number])][: -(-length // step.block_tokens)]
        slots = (blocks.long().unsqueeze(1) * step.block_tokens + offsets).flatten()[:length]
        asked = queries[first:last].float().view(last - first, kv_heads, heads // kv_heads, -1)
        scores = torch.einsum("rhgd,hkd->hgrk", asked, keys[:, slots].float()) * rule.scale
        if rule.cap:
            scores = rule.cap * torch.tanh(scores / rule.cap)
        columns = torch.arange(length, device=queries.device)
        positions = columns[length - (last - first) :].unsqueeze(1)
        seen = columns <= positions
        if rule.window:
            seen &= columns > positions - rule.window
        weights = torch.softmax(scores.masked_fill(~seen, -torch.inf), dim=-1)
        mixed = torch.einsum("hgrk,hkd->rhgd", weights, values[:, slots].float())
        result[first:last] = mixed.reshape(last - first, heads, -1).to(queries.dtype)
    return result
