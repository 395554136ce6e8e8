"""The Triton kernels against plain torch, through Triton's interpreter on the CPU."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.paged_steps import Drawn, draw_step
from tokenyard.engine.model import triton_attention as kernels
from tokenyard.engine.model.paged import AttentionRule, attend_plainly

TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
GROUPS = [(1, 1), (4, 1), (6, 2), (7, 1), (9, 3), (8, 8)]
BOUNDED = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def check(drawn: Drawn, rule: AttentionRule, splits: int = 1) -> None:
    found = kernels.attend(drawn.queries, drawn.keys, drawn.values, drawn.step, rule, splits=splits)
    expected = attend_plainly(drawn.queries, drawn.keys, drawn.values, drawn.step, rule)
    assert found.dtype == drawn.queries.dtype
    tolerance = TOLERANCE[found.dtype]
    torch.testing.assert_close(found.float(), expected.float(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("width", [64, 80, 96, 128, 256])
def test_chunks_and_decodes_share_a_launch(width: int, dtype: torch.dtype) -> None:
    tile = kernels.tile_queries(width, 3, dtype.itemsize)
    parts = [(1, 1), (5, 5), (1, 33), (19, 32), (1, 16), (2, 49)]
    drawn = draw_step(
        parts, heads=3, kv_heads=1, width=width, dtype=dtype, tile_queries=tile, seed=width
    )
    check(drawn, AttentionRule(width**-0.5))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("width", "splits"), [(64, 1), (80, 4), (128, 2), (256, 8)])
def test_decodes_are_split_and_merged(width: int, splits: int, dtype: torch.dtype) -> None:
    parts = [(1, length) for length in (1, 16, 17, 100)]
    drawn = draw_step(parts, heads=6, kv_heads=2, width=width, dtype=dtype, seed=splits)
    check(drawn, AttentionRule(width**-0.5), splits)


@BOUNDED
@given(
    parts=st.lists(
        st.tuples(st.integers(1, 40), st.integers(0, 50)).map(lambda t: (t[0], t[0] + t[1])),
        min_size=1,
        max_size=3,
    ),
    heads=st.sampled_from(GROUPS),
    window=st.sampled_from([0, 0, 1, 5, 16, 40]),
    cap=st.sampled_from([0.0, 0.0, 2.5]),
    block_tokens=st.sampled_from([4, 16, 32]),
    seed=st.integers(0, 1000),
)
def test_any_chunks(
    parts: list[tuple[int, int]],
    heads: tuple[int, int],
    window: int,
    cap: float,
    block_tokens: int,
    seed: int,
) -> None:
    # At least one chunk, so that it is the tiles kernel that runs.
    parts = [(2, 2), *parts]
    drawn = draw_step(
        parts,
        heads=heads[0],
        kv_heads=heads[1],
        width=32,
        block_tokens=block_tokens,
        tile_queries=kernels.tile_queries(32, heads[0] // heads[1], 4),
        seed=seed,
    )
    check(drawn, AttentionRule(0.2, window, cap))


@BOUNDED
@given(
    lengths=st.lists(st.integers(0, 150), min_size=1, max_size=3),
    heads=st.sampled_from(GROUPS),
    window=st.sampled_from([0, 0, 1, 7, 33]),
    cap=st.sampled_from([0.0, 0.0, 2.5]),
    splits=st.sampled_from([1, 2, 8]),
    seed=st.integers(0, 1000),
)
def test_any_decodes(
    lengths: list[int],
    heads: tuple[int, int],
    window: int,
    cap: float,
    splits: int,
    seed: int,
) -> None:
    """Length 0 is a padding row of a graph: its line is read by nobody and its answer is zero."""
    parts = [(1, length) for length in lengths]
    drawn = draw_step(parts, heads=heads[0], kv_heads=heads[1], width=32, seed=seed)
    check(drawn, AttentionRule(0.2, window, cap), splits)


def test_a_split_answer_does_not_depend_on_the_batch() -> None:
    parts = [(1, 90), (1, 5), (1, 33)]
    drawn = draw_step(parts, heads=4, kv_heads=2, width=64)
    rule = AttentionRule(0.125)
    together = kernels.attend(drawn.queries, drawn.keys, drawn.values, drawn.step, rule, splits=4)
    alone = draw_step(parts, heads=4, kv_heads=2, width=64)
    for row in range(3):
        step = alone.step
        one = type(step)(
            row_starts=step.row_starts[:2],
            lengths=step.lengths[row : row + 1],
            lines=step.lines[row : row + 1],
            tables=step.tables,
            block_tokens=step.block_tokens,
            length_max=step.length_max,
            rows_max=1,
        )
        found = kernels.attend(
            alone.queries[row : row + 1], alone.keys, alone.values, one, rule, splits=4
        )
        assert torch.equal(found[0], together[row])


def test_splits_fill_the_processors_and_no_more() -> None:
    assert kernels.count_splits(1, 8, 132) == 64
    assert kernels.count_splits(32, 8, 132) == 2
    assert kernels.count_splits(256, 8, 132) == 1
    assert kernels.count_splits(1, 1, 132) == kernels.SPLITS_MAX
