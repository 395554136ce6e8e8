"""Products with weights on the grid of their file, by the compiled kernels.

Lays weights out in tiles of outputs, as `Matrix` of kernels.c says. Does not know what a product is
for.
"""

from collections.abc import Sequence
from ctypes import byref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokenyard.engine.model import kernels
from tokenyard.engine.model.kernels import Library
from tokenyard.engine.model.quantisation import Grid

# Inputs of a product are whole groups; its rows are rounded in blocks.
INPUTS_MULTIPLE = 32
ROWS_MULTIPLE = 8


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
        self._multiply = library.functions.multiply_rows
        self._threads = threads
        self._scratch = scratch
        self._bias = bias
        self._outputs = sum(len(part.quants) for part in parts)
        inputs = parts[0].quants.shape[1]
        # Two parts of each number, two floats for each of the groups.
        self.row_scratch_bytes = 2 * inputs + 8 * (inputs // min(one.group for one in parts))
        self._kept: list[NDArray[np.uint8] | NDArray[np.float32]] = []
        joined = _joined(parts)
        self._matrices = (kernels.Matrix * len(joined))(
            *(self._lay_out(grid, library.instructions.lanes) for grid in joined)
        )
        # What the kernels know this product by; it lives as long as this object.
        self.product = kernels.Product(
            self._matrices, None if bias is None else bias.data_ptr(), len(joined), self._outputs
        )

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
        result = torch.empty(len(rows), self._outputs)
        self._multiply(
            byref(self.product),
            rows.data_ptr(),
            len(rows),
            result.data_ptr(),
            self._scratch.address(padded_rows(len(rows)) * self.row_scratch_bytes),
            self._threads,
        )
        return result


def padded_rows(count: int) -> int:
    """Rows that scratch memory has to have place for."""
    return -(-count // ROWS_MULTIPLE) * ROWS_MULTIPLE


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
