"""Matrix products with weights laid out for the CPU they run on.

Decides the format of weights in memory. fp16 weights packed for FBGEMM, with activations and sums
in fp32, were the fastest exact format measured on AVX2 (relative error 2e-4 a product, the same
greedy text as fp32); dynamic int8 is faster and wrong. Does not know what a product is for.
"""

from collections.abc import Callable
from enum import StrEnum

import torch
from torch import Tensor

from tokenyard.engine.model.padding import PaddingDropper

Linear = Callable[[Tensor], Tensor]


class WeightFormat(StrEnum):
    """How weights are kept."""

    FP16 = "fp16"
    FP32 = "fp32"


def supports_packed_fp16() -> bool:
    """Whether this build of torch and this CPU have FBGEMM."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def make_linear(
    weight: Tensor, kind: WeightFormat, padding: PaddingDropper, bias: Tensor | None = None
) -> Linear:
    """A function from (rows, in) float32 to (rows, out) float32.

    `weight` is (out, in) float32, and its memory is the caller's again afterwards.
    """
    if kind is WeightFormat.FP32:
        kept = weight.clone()
        return lambda rows: torch.nn.functional.linear(rows, kept, bias)
    outputs, inputs = weight.shape
    packed = padding.pack(
        outputs, inputs, lambda: torch.ops.quantized.linear_prepack_fp16(weight, bias)
    )
    compute = torch.ops.quantized.linear_dynamic_fp16
    return lambda rows: compute(rows, packed)
