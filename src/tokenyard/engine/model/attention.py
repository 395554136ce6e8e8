"""Which cached tokens each row of a step looks at, and the attention itself.

Decodes are sorted by length and cut into buckets of similar length; a bucket is one padded gather
and two batched products, whatever the number of sequences. A prompt chunk is one call by itself.
The plan is made once a step and used in every layer. Does not know weights or sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tokenyard.engine.model.kv_pool import KvPool

# A bucket's gathered keys and values stay under this many tokens, which bounds scratch memory.
BUCKET_TOKENS_MAX = 32_768
# Sequences shorter than the longest by at most this part (or that many tokens) share its bucket.
BUCKET_SPREAD = 0.25
BUCKET_SPREAD_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Span:
    """One sequence's part of a step: tokens [start, end), with the blocks of all of them."""

    start: int
    end: int
    blocks: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Decodes:
    """Rows [first, last) of the step, one token each."""

    first: int
    last: int
    rows: Tensor
    # (1, sequences, 1, length) in the pool's type: 0 where a token is, -inf where padding is.
    mask: Tensor


@dataclass(frozen=True, slots=True)
class _Prompt:
    """Rows [first, last) of the step, all of one sequence."""

    first: int
    last: int
    # None when the chunk starts the sequence and the pool is exact: its own rows are at hand.
    rows: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class View:
    """What the rows of a step look at in one kind of layer."""

    decodes: tuple[_Decodes, ...]
    prompts: tuple[_Prompt, ...]


@dataclass(frozen=True, slots=True)
class StepLayout:
    """Where each row's keys and values go and come from.

    whole: for layers that see everything. windowed: for those that see the newest tokens only;
    the same where a model has none.
    """

    positions: Tensor
    slots: Tensor
    # Places behind the newest token of blocks that begin in this step: what another text left
    # there is read with the block, and masked, which does not help against a NaN.
    stale: Tensor
    whole: View
    windowed: View


def lay_out(spans: Sequence[Span], pool: KvPool, *, window: int = 0) -> StepLayout:
    """Plan a step whose rows are the tokens of `spans` in order.

    Spans of one token come first, in order of length; `order_spans` gives such an order.
    window: tokens that a windowed layer sees, the row's own included; 0 without such layers.
    """
    size = pool.block_tokens
    whole = _view(spans, pool, 0)
    stale = [
        _slots(span, span.end, -(-span.end // size) * size, size) for span in _fresh(spans, size)
    ]
    return StepLayout(
        positions=torch.from_numpy(np.concatenate([np.arange(s.start, s.end) for s in spans])),
        slots=torch.from_numpy(np.concatenate([_slots(s, s.start, s.end, size) for s in spans])),
        stale=torch.from_numpy(np.concatenate([np.empty(0, np.int64), *stale])),
        whole=whole,
        windowed=_view(spans, pool, window) if window else whole,
    )


def order_spans(spans: Sequence[Span]) -> list[int]:
    """Indices of the spans in the order that `lay_out` wants."""
    return sorted(
        range(len(spans)),
        key=lambda index: (spans[index].end - spans[index].start > 1, spans[index].end),
    )


def attend(view: View, layer: int, pool: KvPool, qkv: Tensor, heads: int) -> Tensor:
    """Attention of one layer; (rows, heads + 2 * kv_heads, width) to (rows, heads * width).

    Queries are scaled already. The rows' own keys and values are in the pool already.
    """
    rows, all_heads, width = qkv.shape
    kv_heads = (all_heads - heads) // 2
    result = torch.empty(rows, heads, width)
    for decodes in view.decodes:
        count = decodes.last - decodes.first
        stored = pool.gather(layer, decodes.rows).view(2, kv_heads, count, -1, width)
        # The queries that share a head of keys stand as the rows of one matrix.
        queries = qkv[decodes.first : decodes.last, :heads].view(count, kv_heads, -1, width)
        mixed = scaled_dot_product_attention(
            queries.transpose(0, 1).to(stored.dtype),
            stored[0],
            stored[1],
            attn_mask=decodes.mask,
            scale=1.0,
        )
        result[decodes.first : decodes.last].view(count, kv_heads, -1, width).copy_(
            mixed.transpose(0, 1)
        )
    for prompt in view.prompts:
        if prompt.rows is None:
            stored = qkv[prompt.first : prompt.last, heads:].transpose(0, 1)
        else:
            stored = pool.gather(layer, prompt.rows)
        stored = stored.reshape(2, 1, kv_heads, -1, width)
        queries = qkv[prompt.first : prompt.last, :heads].transpose(0, 1).unsqueeze(0)
        mixed = scaled_dot_product_attention(
            queries.to(stored.dtype),
            stored[0],
            stored[1],
            attn_mask=prompt.mask,
            is_causal=prompt.mask is None,
            scale=1.0,
            enable_gqa=True,
        )
        result[prompt.first : prompt.last] = mixed[0].transpose(0, 1)
    return result.view(rows, heads * width)


def _view(spans: Sequence[Span], pool: KvPool, window: int) -> View:
    single = sum(1 for span in spans if span.end - span.start == 1)
    decodes = [_Held(span, pool.block_tokens, window) for span in spans[:single]]
    prompts = []
    row = single
    for span in spans[single:]:
        prompts.append(_lay_out_prompt(row, span, pool, window))
        row += span.end - span.start
    return View(
        tuple(
            _lay_out_decodes(first, decodes[first:last], pool)
            for first, last in _bucket([held.count for held in decodes])
        ),
        tuple(prompts),
    )


def _fresh(spans: Sequence[Span], size: int) -> list[Span]:
    """Those whose last block begins in this step, and is not filled by it."""
    return [span for span in spans if span.start <= span.end // size * size < span.end]


def _slots(span: Span, first: int, last: int, size: int) -> NDArray[np.int64]:
    """The slots of places [first, last) of a sequence."""
    places = np.arange(first, last)
    return np.asarray(span.blocks, dtype=np.int64)[places // size] * size + places % size


class _Held:
    """The blocks that the newest token of a sequence looks at, or those that its window touches."""

    __slots__ = ("blocks", "count", "first")

    def __init__(self, span: Span, size: int, window: int) -> None:
        begin = max(0, span.end - window) if window else 0
        skipped = begin // size
        self.blocks = span.blocks[skipped : -(-span.end // size)]
        # Of the tokens in these blocks, [first, count) are looked at.
        self.first = begin - skipped * size
        self.count = span.end - skipped * size


def _bucket(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Cut ascending lengths into runs [first, last) that are padded to their longest one."""
    edges = [len(lengths)]
    while edges[-1] > 0:
        last = first = edges[-1]
        longest = lengths[last - 1]
        shortest = longest - max(BUCKET_SPREAD_TOKENS, int(longest * BUCKET_SPREAD))
        while (
            first > 0
            and lengths[first - 1] >= shortest
            and (first == last or (last - first + 1) * longest <= BUCKET_TOKENS_MAX)
        ):
            first -= 1
        edges.append(first)
    return list(pairwise(reversed(edges)))


def _lay_out_decodes(first: int, held: Sequence[_Held], pool: KvPool) -> _Decodes:
    longest = max(len(one.blocks) for one in held)
    blocks = np.zeros((len(held), longest), dtype=np.int64)
    mask = np.full((1, len(held), 1, longest * pool.block_tokens), -np.inf, dtype=np.float32)
    for row, one in enumerate(held):
        blocks[row, : len(one.blocks)] = one.blocks
        mask[0, row, 0, one.first : one.count] = 0
    rows = pool.rows_of(torch.from_numpy(blocks.reshape(-1)))
    return _Decodes(first, first + len(held), rows, torch.from_numpy(mask).to(pool.gathers))


def _lay_out_prompt(row: int, span: Span, pool: KvPool, window: int) -> _Prompt:
    last = row + span.end - span.start
    narrow = 0 < window < span.end
    if span.start == 0 and not narrow and pool.exact:
        return _Prompt(row, last, None, None)
    size = pool.block_tokens
    skipped = max(0, span.start - window + 1) // size if narrow else 0
    blocks = torch.tensor(span.blocks[skipped : -(-span.end // size)])
    # `is_causal` aligns the triangle to the top left, which is wrong with a cached prefix.
    columns = torch.arange(skipped * size, (skipped + len(blocks)) * size)
    positions = torch.arange(span.start, span.end).unsqueeze(1)
    mask = columns <= positions
    if narrow:
        mask &= columns > positions - window
    return _Prompt(row, last, pool.rows_of(blocks), mask)
