"""A decoder's steps between its products by the compiled kernels, or all of its layers at once.

Checks what the kernels take for granted (widths, types, contiguity) when something is made, and
hands tensors over by address. Does not know sequences, nor how weights lie.
"""

from collections.abc import Sequence
from ctypes import Array, byref, c_int

import numpy as np
import torch
from torch import Tensor

from tokenyard.engine.model import kernels
from tokenyard.engine.model.attention import Span
from tokenyard.engine.model.checkpoints import DecoderShape
from tokenyard.engine.model.grid_linear import GridLinear, Scratch, padded_rows
from tokenyard.engine.model.kernels import WIDTH_MULTIPLE, Library
from tokenyard.engine.model.kv_pool import KvFormat, KvPool
from tokenyard.engine.model.operations import Layer, Turns

_FORMATS = {KvFormat.FP32: 0, KvFormat.FP16: 1, KvFormat.INT8: 2}


def can_compute(shape: DecoderShape, block_tokens: int) -> bool:
    """Whether the kernels fit a model's widths and these blocks."""
    return (
        block_tokens % WIDTH_MULTIPLE == 0
        and shape.head_width % WIDTH_MULTIPLE == 0
        and shape.width % WIDTH_MULTIPLE == 0
        and shape.inner_width % WIDTH_MULTIPLE == 0
    )


class CompiledOperations:
    """Makes the operations of one step after the other, for a shape that the kernels fit."""

    def __init__(
        self,
        library: Library,
        threads: int,
        shape: DecoderShape,
        turns: Turns,
        pool: KvPool,
        *,
        layers: Sequence[Layer] = (),
    ) -> None:
        self.functions = library.functions
        self.threads = threads
        self.shape = shape
        self.pool = pool
        # What the kernels know by its address.
        self._kept = (turns, layers)
        self.turns = {
            windowed: turns.of(windowed=windowed).data_ptr() for windowed in (False, True)
        }
        self.caches = [_cache_of(pool, layer) for layer in range(shape.layers)]
        self.layers: Array[kernels.Layer] | None = None
        self._rows_max = c_int.in_dll(library.functions, "layer_rows_max").value
        self._row_bytes = 0
        self._room = Scratch()
        self._describe(layers)

    def begin(self, spans: Sequence[Span]) -> "CompiledStep":
        return CompiledStep(self, spans)

    def room(self, rows: int) -> int:
        """The address of what `run_layers` needs beside its rows."""
        return self._room.address(padded_rows(min(rows, self._rows_max)) * self._row_bytes)

    def _describe(self, layers: Sequence[Layer]) -> None:
        """Layers whose products are all on grids can be computed in one call."""
        described = []
        scratch_bytes = 0
        for layer, cache in zip(layers, self.caches, strict=False):
            products = (layer.qkv, layer.attention_out, layer.gate_up, layer.down)
            found = [one for one in products if isinstance(one, GridLinear)]
            if len(found) < len(products):
                return
            scratch_bytes = max(scratch_bytes, *(one.row_scratch_bytes for one in found))
            norms = (
                layer.attention_norm,
                layer.query_key_norm,
                layer.attention_out_norm,
                layer.inner_norm,
                layer.down_norm,
            )
            described.append(
                kernels.Layer(
                    *(one.product for one in found),
                    *(None if norm is None else norm.data_ptr() for norm in norms),
                    self.turns[layer.windowed],
                    cache,
                    self.shape.window if layer.windowed else 0,
                    self.shape.gelu,
                )
            )
        if described:
            shape = self.shape
            heads = 2 * shape.heads + 2 * shape.kv_heads
            floats = 2 * shape.width + heads * shape.head_width + 3 * shape.inner_width
            self._row_bytes = 4 * floats + scratch_bytes
            self.layers = (kernels.Layer * len(described))(*described)


class CompiledStep:
    """`StepOperations` by the kernels."""

    def __init__(self, operations: CompiledOperations, spans: Sequence[Span]) -> None:
        self._given = operations
        blocks_max = max(len(span.blocks) for span in spans)
        tables = np.zeros((len(spans), blocks_max), np.int32)
        for line, span in enumerate(spans):
            tables[line, : len(span.blocks)] = span.blocks
        counts = [span.end - span.start for span in spans]
        lines = np.repeat(np.arange(len(spans), dtype=np.int32), counts)
        positions = np.concatenate([np.arange(span.start, span.end) for span in spans])
        size = operations.pool.block_tokens
        slots = tables[lines, positions // size].astype(np.int64) * size + positions % size
        self._kept = (positions, slots, tables, lines)
        self._step = byref(
            kernels.Step(
                *(one.ctypes.data for one in self._kept),
                len(positions),
                blocks_max,
                operations.shape.heads,
                operations.threads,
                operations.shape.epsilon,
            )
        )

    def run_layers(self, hidden: Tensor) -> bool:
        given = self._given
        if given.layers is None:
            return False
        given.functions.run_layers(
            self._step, given.layers, len(given.layers), hidden.data_ptr(), given.room(len(hidden))
        )
        return True

    def add_norm(self, hidden: Tensor, change: Tensor | None, weight: Tensor) -> Tensor:
        rows, width = hidden.shape
        result = torch.empty(rows, width)
        self._given.functions.add_norm(
            hidden.data_ptr(),
            None if change is None else change.data_ptr(),
            weight.data_ptr(),
            self._given.shape.epsilon,
            result.data_ptr(),
            rows,
            width,
            self._given.threads,
        )
        return result

    def turn_and_store(
        self, layer: int, qkv: Tensor, norms: Tensor | None, *, windowed: bool
    ) -> None:
        given = self._given
        given.functions.turn_and_store(
            self._step,
            qkv.data_ptr(),
            None if norms is None else norms.data_ptr(),
            given.turns[windowed],
            byref(given.caches[layer]),
        )

    def attend(self, layer: int, qkv: Tensor, *, windowed: bool) -> Tensor:
        given = self._given
        result = torch.empty(len(qkv), given.shape.heads * given.shape.head_width)
        given.functions.attend(
            self._step,
            qkv.data_ptr(),
            given.shape.window if windowed else 0,
            byref(given.caches[layer]),
            result.data_ptr(),
        )
        return result

    def gate(self, both: Tensor) -> Tensor:
        given, rows = self._given, len(both)
        result = torch.empty(rows, given.shape.inner_width)
        given.functions.gate(
            both.data_ptr(),
            given.shape.gelu,
            result.data_ptr(),
            rows,
            given.shape.inner_width,
            given.threads,
        )
        return result


def _cache_of(pool: KvPool, layer: int) -> kernels.Cache:
    numbers, scales = pool.memory_of(layer)
    return kernels.Cache(
        numbers.data_ptr(),
        None if scales is None else scales.data_ptr(),
        numbers.shape[1],
        _FORMATS[pool.kind],
        numbers.shape[0] // 2,
        numbers.shape[2],
        pool.block_tokens,
    )
