"""Matrix products with weights laid out for the CPU they run on.

Decides the format of weights in memory. Where there are compiled kernels, weights of a quantised
file stay on the grid that it has. Else they are packed as fp16 for FBGEMM, the fastest exact format
that torch has (decision 0005). Does not know what a product is for.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

import torch
from torch import Tensor

from tokenyard.engine.model.grid_linear import INPUTS_MULTIPLE, GridLinear, Scratch
from tokenyard.engine.model.kernels import Library
from tokenyard.engine.model.padding import PaddingDropper
from tokenyard.engine.model.quantisation import Grid
from tokenyard.vocabulary.errors import StartError

Linear = Callable[[Tensor], Tensor]


class WeightFormat(StrEnum):
    """How weights are kept. quantised: as the file has them, plain numbers as fp16."""

    QUANTISED = "quantised"
    FP16 = "fp16"
    FP32 = "fp32"


def supports_packed_fp16() -> bool:
    """Whether this build of torch and this CPU have FBGEMM."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def choose_format(wanted: str, library: Library | None, *, gridded: bool) -> WeightFormat:
    """The format for a setting. gridded: whether the file is quantised.

    Raises StartError for one that cannot be had here.
    """
    if wanted == "auto":
        if library is not None and gridded:
            return WeightFormat.QUANTISED
        return WeightFormat.FP16 if supports_packed_fp16() else WeightFormat.FP32
    kind = WeightFormat(wanted)
    if kind is WeightFormat.QUANTISED and library is None:
        raise StartError(
            "engine.weights = quantised needs the compiled kernels; use engine.kernels = compiled "
            "to see why there are none, or engine.weights = auto."
        )
    if kind is WeightFormat.FP16 and not supports_packed_fp16():
        raise StartError(
            "engine.weights = fp16 needs FBGEMM, which this build of torch does not have. Use fp32."
        )
    return kind


class LinearMaker:
    """Makes the products of one model; their weights' format is decided here.

    threads: of the compiled kernels; torch's own products use torch's setting.
    """

    def __init__(
        self, kind: WeightFormat, padding: PaddingDropper, library: Library | None, threads: int
    ) -> None:
        self._packs = kind is not WeightFormat.FP32 and supports_packed_fp16()
        self._padding = padding
        self._library = library if kind is WeightFormat.QUANTISED else None
        self._threads = threads
        self._scratch = Scratch()

    def takes_grids(self, inputs: int) -> bool:
        """Whether `make_from_grids` may be called for products over so many inputs."""
        return self._library is not None and inputs % INPUTS_MULTIPLE == 0

    def make_from_grids(self, parts: Sequence[Grid], bias: Tensor | None = None) -> Linear:
        """(rows, inputs) to (rows, outputs of all parts in order), float32."""
        assert self._library is not None
        return GridLinear(self._library, self._threads, self._scratch, parts, bias)

    def make(self, weight: Tensor, bias: Tensor | None = None) -> Linear:
        """A function from (rows, in) float32 to (rows, out) float32.

        `weight` is (out, in) float32, and its memory is the caller's again afterwards.
        """
        if not self._packs:
            kept = weight.clone()
            return lambda rows: torch.nn.functional.linear(rows, kept, bias)
        outputs, inputs = weight.shape
        packed = self._padding.pack(
            outputs, inputs, lambda: torch.ops.quantized.linear_prepack_fp16(weight, bias)
        )
        compute = torch.ops.quantized.linear_dynamic_fp16
        return lambda rows: compute(rows, packed)
