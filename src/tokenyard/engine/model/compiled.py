"""Products and a decoder's other steps by the compiled kernels.

Checks what the kernels take for granted (widths, types, contiguity) when something is made, lays
weights out as they want them, and hands tensors over by address. Does not know layers' order.
"""

from collections.abc import Sequence
from ctypes import byref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokenyard.engine.model import kernels
from tokenyard.engine.model.attention import Span
from tokenyard.engine.model.checkpoints import DecoderShape
from tokenyard.engine.model.kernels import WIDTH_MULTIPLE, Library
from tokenyard.engine.model.kv_pool import KvFormat, KvPool
from tokenyard.engine.model.operations import Turns
from tokenyard.engine.model.quantisation import Grid

# Inputs of a product are whole groups; its rows are rounded in blocks.
INPUTS_MULTIPLE = 32
ROWS_MULTIPLE = 8
_FORMATS = {KvFormat.FP32: 0, KvFormat.FP16: 1, KvFormat.INT8: 2}


def can_compute(shape: DecoderShape, block_tokens: int) -> bool:
    """Whether the kernels fit a model's widths and these blocks."""
    return (
        block_tokens % WIDTH_MULTIPLE == 0
        and shape.head_width % WIDTH_MULTIPLE == 0
        and shape.width % WIDTH_MULTIPLE == 0
        and shape.inner_width % WIDTH_MULTIPLE == 0
    )


class Scratch:
    """Memory that one product after the other rounds its rows in."""

    def __init__(self) -> None:
        self._room = torch.empty(0, dtype=torch.int8)

    def address(self, size: int) -> int:
        if self._room.numel() < size:
            self._room = torch.empty(size, dtype=torch.int8)
        return self._room.data_ptr()


class GridLinear:
    """A product with weights on their grids: (rows, inputs) to (rows, outputs), float32.

    Parts stand one after the other in the outputs. Keeps the `Linear` contract.
    """

    def __init__(
        self,
        library: Library,
        threads: int,
        scratch: Scratch,
        parts: Sequence[Grid],
        bias: Tensor | None,
    ) -> None:
        self._product = library.functions.product
        self._threads = threads
        self._scratch = scratch
        self._bias = bias
        self._inputs = parts[0].quants.shape[1]
        self._outputs = sum(len(part.quants) for part in parts)
        # Bytes that a row needs: two parts of each number, two floats for each of the groups.
        self._row_bytes = 2 * self._inputs + 8 * (self._inputs // min(one.group for one in parts))
        self._kept: list[NDArray[np.uint8] | NDArray[np.float32]] = []
        self._parts = []
        first = 0
        for grid in _joined(parts):
            self._parts.append((self._lay_out(grid, library.instructions.lanes), 4 * first))
            first += len(grid.quants)

    def _lay_out(self, grid: Grid, lanes: int) -> kernels.Matrix:
        outputs, inputs = grid.quants.shape
        kept = (
            _tile_quants(grid, lanes),
            _tile_floats(grid.scales, lanes),
            _tile_floats(grid.minimums, lanes),
        )
        self._kept += kept
        return kernels.Matrix(
            outputs, inputs, grid.bits, grid.group, *(one.ctypes.data for one in kept)
        )

    def __call__(self, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        count = len(rows)
        result = torch.empty(count, self._outputs)
        source, target = rows.data_ptr(), result.data_ptr()
        scratch = self._scratch.address(
            -(-count // ROWS_MULTIPLE) * ROWS_MULTIPLE * self._row_bytes
        )
        bias = None if self._bias is None else self._bias.data_ptr()
        for matrix, offset in self._parts:
            self._product(
                byref(matrix),
                source,
                count,
                None if bias is None else bias + offset,
                target + offset,
                self._outputs,
                scratch,
                self._threads,
            )
        return result


def _joined(parts: Sequence[Grid]) -> list[Grid]:
    """Neighbours of the same form as one."""
    result: list[Grid] = []
    for part in parts:
        last = result[-1] if result else None
        if last is not None and (last.bits, last.group) == (part.bits, part.group):
            result[-1] = Grid(
                part.bits,
                np.concatenate([last.quants, part.quants]),
                np.concatenate([last.scales, part.scales]),
                np.concatenate([last.minimums, part.minimums]),
            )
        else:
            result.append(part)
    return result


def _padded(rows: NDArray[np.generic], lanes: int) -> NDArray[np.generic]:
    """Rows of zeros at the end, up to whole tiles."""
    missing = -len(rows) % lanes
    return np.pad(rows, ((0, missing), (0, 0))) if missing else rows


def _tile_quants(grid: Grid, lanes: int) -> NDArray[np.uint8]:
    """(tiles, groups, fours, lanes * 4) bytes; with 4 bits half as many fours."""
    fours = grid.group // 4
    rows = np.ascontiguousarray(_padded(grid.quants, lanes)).view(np.uint32)
    tiled = rows.reshape(-1, lanes, grid.scales.shape[1], fours).transpose(0, 2, 3, 1)
    if grid.bits == 4:
        return np.ascontiguousarray(
            tiled[:, :, : fours // 2] | (tiled[:, :, fours // 2 :] << 4)
        ).view(np.uint8)
    return np.ascontiguousarray(tiled).view(np.uint8)


def _tile_floats(rows: NDArray[np.float32], lanes: int) -> NDArray[np.float32]:
    """(tiles, groups, lanes)."""
    tiled = _padded(rows, lanes).reshape(-1, lanes, rows.shape[1]).transpose(0, 2, 1)
    return np.ascontiguousarray(tiled, dtype=np.float32)


class CompiledOperations:
    """Makes the operations of one step after the other, for a shape that the kernels fit."""

    def __init__(
        self, library: Library, threads: int, shape: DecoderShape, turns: Turns, pool: KvPool
    ) -> None:
        self.functions = library.functions
        self.threads = threads
        self.shape = shape
        self.pool = pool
        self._turns = turns
        self.turns = {
            windowed: turns.of(windowed=windowed).data_ptr() for windowed in (False, True)
        }
        self.caches = [byref(_cache_of(pool, layer)) for layer in range(shape.layers)]

    def begin(self, spans: Sequence[Span]) -> "CompiledStep":
        return CompiledStep(self, spans)


class CompiledStep:
    """`StepOperations` by the kernels."""

    def __init__(self, operations: CompiledOperations, spans: Sequence[Span]) -> None:
        self._given = operations
        self._blocks_max = max(len(span.blocks) for span in spans)
        tables = np.zeros((len(spans), self._blocks_max), np.int32)
        for line, span in enumerate(spans):
            tables[line, : len(span.blocks)] = span.blocks
        counts = [span.end - span.start for span in spans]
        lines = np.repeat(np.arange(len(spans), dtype=np.int32), counts)
        positions = np.concatenate([np.arange(span.start, span.end) for span in spans])
        size = operations.pool.block_tokens
        slots = tables[lines, positions // size].astype(np.int64) * size + positions % size
        self._kept = (tables, lines, positions, slots)
        self._tables, self._lines, self._positions, self._slots = (
            one.ctypes.data for one in self._kept
        )

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
            qkv.data_ptr(),
            len(qkv),
            given.shape.heads,
            None if norms is None else norms.data_ptr(),
            given.shape.epsilon,
            given.turns[windowed],
            self._positions,
            self._slots,
            given.caches[layer],
            given.threads,
        )

    def attend(self, layer: int, qkv: Tensor, *, windowed: bool) -> Tensor:
        given, rows = self._given, len(qkv)
        result = torch.empty(rows, given.shape.heads * given.shape.head_width)
        given.functions.attend(
            qkv.data_ptr(),
            rows,
            given.shape.heads,
            self._positions,
            self._tables,
            self._blocks_max,
            self._lines,
            given.shape.window if windowed else 0,
            given.caches[layer],
            result.data_ptr(),
            given.threads,
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
