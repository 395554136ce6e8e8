"""The small Triton kernels against plain torch, through Triton's interpreter on the CPU."""

import pytest
import torch

from tokenyard.engine.model import rows
from tokenyard.engine.model import triton_rows as kernels

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def draw(*shape: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.dtype == expected.dtype
    tolerance = TOLERANCE[found.dtype]
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize("width", [64, 576])
def test_add_norm(width: int, adds: bool, dtype: torch.dtype) -> None:
    hidden, weight = draw(5, width, dtype=dtype), draw(width, dtype=dtype, seed=1)
    change = draw(5, width, dtype=dtype, seed=2) if adds else None
    mine, theirs = hidden.clone(), hidden.clone()
    found = kernels.add_norm(mine, change, weight, 1e-5)
    assert_near(found, rows.add_norm(theirs, change, weight, 1e-5))
    assert_near(mine, theirs)
    assert adds != torch.equal(mine, hidden)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("neighbours", [True, False])
@pytest.mark.parametrize("width", [64, 80])
def test_turn_and_store(width: int, neighbours: bool, normed: bool, dtype: torch.dtype) -> None:
    heads, kv_heads = 6, 2
    qkv = draw(4, heads + 2 * kv_heads, width, dtype=dtype)
    norms = draw(2, width, dtype=dtype, seed=1) if normed else None
    turns = draw(50, width, dtype=torch.float32, seed=2)
    positions, slots = torch.tensor([0, 49, 7, 3]).int(), torch.tensor([17, 2, -1, 31]).int()
    mine, theirs = qkv.clone(), qkv.clone()
    my_pool = torch.full((2 * kv_heads, 32, width), 5.0).to(dtype)
    their_pool = my_pool.clone()
    how = rows.Turning(turns, norms, heads, neighbours, 1e-6)
    kernels.turn_and_store(mine, positions, slots, my_pool, how)
    rows.turn_and_store(theirs, positions, slots, their_pool, how)
    assert_near(mine[:, :heads], theirs[:, :heads])
    assert_near(my_pool, their_pool)
    # The row without a slot is stored nowhere.
    assert int((my_pool != 5.0).any(-1).sum()) == 3 * 2 * kv_heads


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("width", "gelu"), [(48, False), (1536, False), (48, True)])
def test_gate(width: int, gelu: bool, dtype: torch.dtype) -> None:
    both = draw(3, 2 * width, dtype=dtype)
    assert_near(kernels.gate(both, gelu), rows.gate(both, gelu))
