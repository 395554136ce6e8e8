"""Padding of packed weights: its memory is given back, and no product changes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tokenyard.engine.model.linear import LinearMaker, WeightFormat, supports_packed_fp16
from tokenyard.engine.model.padding import PaddingDropper

pytestmark = pytest.mark.skipif(
    not supports_packed_fp16() or sys.platform != "linux", reason="needs FBGEMM and Linux"
)


def own_bytes() -> int:
    """Memory of this process that no file backs."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_the_padding_of_packed_weights_takes_no_memory() -> None:
    """In a process of its own: what others have mapped before may lie beside the matrix."""
    script = "import runpy, sys; runpy.run_path(sys.argv[1])['check_padding']()"
    subprocess.run([sys.executable, "-c", script, __file__], check=True, timeout=60)


def check_padding() -> None:
    outputs, inputs = 8192, 576
    weight, rows = torch.randn(outputs, inputs), torch.randn(5, inputs)
    plain = torch.ops.quantized.linear_prepack_fp16(weight, None)
    expected = torch.ops.quantized.linear_dynamic_fp16(rows, plain)
    with PaddingDropper() as padding:
        before = own_bytes()
        linear = LinearMaker(WeightFormat.FP16, padding, None, 1).make(weight)
        taken = own_bytes() - before
    assert torch.equal(linear(rows), expected)
    padded = 2 * outputs * 1024
    assert padding.dropped_bytes == pytest.approx(padded * 448 / 1024, abs=8192)
    assert taken < padded - 0.9 * padding.dropped_bytes


@pytest.mark.parametrize("inputs", [512, 64])
def test_small_or_whole_matrices_are_left_alone(inputs: int) -> None:
    with PaddingDropper() as padding:
        linear = LinearMaker(WeightFormat.FP16, padding, None, 1).make(torch.ones(16, inputs))
    assert padding.dropped_bytes == 0
    assert torch.equal(linear(torch.ones(1, inputs)), torch.full((1, 16), float(inputs)))


def test_what_is_not_zero_stays() -> None:
    """A packing that fills its allocation to the end, as another version of FBGEMM might."""
    outputs, inputs = 8192, 576
    with PaddingDropper() as padding:
        full = padding.pack(outputs, inputs, lambda: torch.ones(outputs * 1024, dtype=torch.half))
    assert bool((full == 1).all())
