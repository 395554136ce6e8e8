"""The operations of a decoder on a device, bound to the paths that were chosen for it.

Triton is imported only here and only when a path needs it, so a CPU needs none.
Does not know layers or steps' order.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from tokenyard.engine.model import rows
from tokenyard.engine.model.device import AttentionPath, DevicePaths
from tokenyard.engine.model.paged import AttentionRule, PagedStep, attend_plainly
from tokenyard.engine.model.rows import Turning

Attend = Callable[[Tensor, Tensor, Tensor, PagedStep, AttentionRule], Tensor]


@dataclass(frozen=True, slots=True)
class Operations:
    """What a decoder calls; each as its namesake in `rows` and `paged`.

    tile_queries: rows of a sequence that one tile takes, from head width, query heads for each key
    head and bytes of a number; what `PagedStep.tile_rows` is made with.
    """

    add_norm: Callable[[Tensor, Tensor | None, Tensor, float], Tensor]
    turn_and_store: Callable[[Tensor, Tensor, Tensor, Tensor, Turning], None]
    gate: Callable[[Tensor, bool], Tensor]
    attend: Attend
    tile_queries: Callable[[int, int, int], int]


def bind(paths: DevicePaths, processors: int) -> Operations:
    """The operations for these paths. processors: multiprocessors of the GPU."""
    if AttentionPath.TRITON not in (paths.chunks, paths.decodes):
        chunks = _attend_varlen if paths.chunks is AttentionPath.VARLEN else attend_plainly
        return Operations(
            rows.add_norm,
            rows.turn_and_store,
            rows.gate,
            _by_kind(chunks, attend_plainly),
            lambda width, group, item_bytes: 16,
        )
    from tokenyard.engine.model import triton_attention, triton_rows  # noqa: PLC0415

    def attend_decodes(
        queries: Tensor, keys: Tensor, values: Tensor, step: PagedStep, rule: AttentionRule
    ) -> Tensor:
        splits = triton_attention.count_splits(len(step.lengths), keys.shape[0], processors)
        return triton_attention.attend(queries, keys, values, step, rule, splits=splits)

    paths_by_name: dict[AttentionPath, Attend] = {
        AttentionPath.PLAIN: attend_plainly,
        AttentionPath.TRITON: triton_attention.attend,
        AttentionPath.VARLEN: _attend_varlen,
    }
    return Operations(
        triton_rows.add_norm,
        triton_rows.turn_and_store,
        triton_rows.gate,
        _by_kind(
            paths_by_name[paths.chunks],
            attend_decodes if paths.decodes is AttentionPath.TRITON else attend_plainly,
        ),
        triton_attention.tile_queries,
    )


def _by_kind(chunks: Attend, decodes: Attend) -> Attend:
    def attend(
        queries: Tensor, keys: Tensor, values: Tensor, step: PagedStep, rule: AttentionRule
    ) -> Tensor:
        chosen = decodes if step.rows_max == 1 else chunks
        return chosen(queries, keys, values, step, rule)

    return attend


def _attend_varlen(
    queries: Tensor, keys: Tensor, values: Tensor, step: PagedStep, rule: AttentionRule
) -> Tensor:
    """Through torch's variable-length attention; without a cap on scores, which it has not."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415

    if rule.cap:
        raise ValueError("variable-length attention of torch has no cap on scores")
    result = varlen_attn(
        queries,
        _pages(keys, step.block_tokens),
        _pages(values, step.block_tokens),
        step.row_starts,
        None,
        step.rows_max,
        step.length_max,
        scale=rule.scale,
        # Tokens to the left beside the row's own one; -1 for all.
        window_size=(rule.window - 1 if rule.window else -1, 0),
        enable_gqa=queries.shape[1] != keys.shape[0],
        seqused_k=step.lengths,
        block_table=step.tables[step.lines.long()],
    )
    if isinstance(result, tuple):
        raise ValueError("asked for the answer alone")
    return result


def _pages(stored: Tensor, block_tokens: int) -> Tensor:
    """(kv_heads, slots, width) as (blocks, block_tokens, kv_heads, width), without a copy."""
    heads, slots, width = stored.shape
    return stored.view(heads, slots // block_tokens, block_tokens, width).permute(1, 2, 0, 3)
