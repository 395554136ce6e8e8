"""The block formats of GGUF, read with numpy: as float32, or on the grid that they store.

Each decoding function takes whole blocks as rows of bytes, (blocks, block bytes). A number is
(quant - offset) * scale + minimum, with a scale and perhaps a minimum for each group of 16 or 32.
The arithmetic is done in float32 in the order of the reference, so results are equal to the bit.
Source: the block structs of ggml (`block_q4_1`, `block_q6_K`, …).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

PIECE_ITEMS = 1 << 16


class TensorKind(IntEnum):
    """The tensor types that we read; the numbers are ggml's."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    BF16 = 30


def block_items(kind: TensorKind) -> int:
    """Values in one block."""
    return _BLOCKS[kind].items


def size_bytes(kind: TensorKind, items: int) -> int:
    """Bytes of a tensor with that many values."""
    block = _BLOCKS[kind]
    return items // block.items * block.size


def has_grid(kind: TensorKind) -> bool:
    """Whether `read_grid` gives one for this format."""
    return _BLOCKS[kind].bits > 0


def dequantise(raw: Bytes, kind: TensorKind, result: Floats) -> None:
    """Write the values of whole blocks to the flat `result`, a cache-sized piece at a time.

    Pieces keep the memory beside the result small, and are faster than all at once.
    """
    block = _BLOCKS[kind]
    rows = raw.reshape(-1, block.size)
    step = max(PIECE_ITEMS // block.items, 1)
    for first in range(0, len(rows), step):
        decoded = block.decode(rows[first : first + step])
        piece = decoded.values() if isinstance(decoded, _Quants) else decoded
        result[first * block.items : first * block.items + piece.size] = piece.reshape(-1)


@dataclass(frozen=True, slots=True)
class Grid:
    """A matrix of whole numbers: weight = quant * scale + minimum, by groups of inputs.

    quants: (outputs, inputs), below 2 to the `bits`. scales, minimums: (outputs, groups).
    """

    bits: int
    quants: Bytes
    scales: Floats
    minimums: Floats

    @property
    def group(self) -> int:
        """Inputs that share a scale."""
        return int(self.quants.shape[1] // self.scales.shape[1])


def read_grid(raw: Bytes, kind: TensorKind, outputs: int) -> Grid | None:
    """The grid of a matrix's blocks; None for a format of floating-point numbers."""
    block = _BLOCKS[kind]
    if not block.bits:
        return None
    rows = raw.reshape(-1, block.size)
    step = max(PIECE_ITEMS // block.items, 1)
    group = _quants(block.decode(rows[:1])).numbers.shape[-1]
    numbers = np.empty((len(rows), block.items), np.uint8)
    scales = np.empty((len(rows), block.items // group), np.float32)
    minimums = np.zeros_like(scales)
    for first in range(0, len(rows), step):
        some = slice(first, first + step)
        decoded = _quants(block.decode(rows[some]))
        numbers[some] = decoded.numbers.reshape(-1, block.items)
        scales[some] = decoded.scales
        if decoded.minimums is not None:
            minimums[some] = decoded.minimums
        if decoded.offset:
            # A power of two, so nothing is rounded.
            minimums[some] -= decoded.scales * np.float32(decoded.offset)
    return Grid(
        block.bits,
        numbers.reshape(outputs, -1),
        scales.reshape(outputs, -1),
        minimums.reshape(outputs, -1),
    )


@dataclass(frozen=True, slots=True)
class _Quants:
    """Some blocks on their grid. numbers: (blocks, groups, items); scales: (blocks, groups)."""

    numbers: NDArray[Any]
    scales: Floats
    minimums: Floats | None = None
    offset: int = 0

    def values(self) -> Floats:
        values = self.numbers.astype(np.float32)
        if self.offset:
            values -= self.offset
        values *= self.scales[:, :, None]
        if self.minimums is not None:
            values += self.minimums[:, :, None]
        return values


def _quants(decoded: "Floats | _Quants") -> _Quants:
    assert isinstance(decoded, _Quants)
    return decoded


def _half(column: Bytes) -> Floats:
    """Two bytes a row as one float16, widened: (blocks, 1)."""
    return np.ascontiguousarray(column).view(np.float16).astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """(blocks, n) bytes to (blocks, 1, 2n) values: all the low halves, then all the high halves."""
    return np.concatenate([packed & 0x0F, packed >> 4], axis=1)[:, None]


def _f32(rows: Bytes) -> Floats:
    return rows.view(np.float32)


def _f16(rows: Bytes) -> Floats:
    return rows.view(np.float16).astype(np.float32)


def _bf16(rows: Bytes) -> Floats:
    return (rows.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _q8_0(rows: Bytes) -> _Quants:
    # Two's complement with the sign turned round is the number plus 128.
    return _Quants((rows[:, 2:] ^ 0x80)[:, None], _half(rows[:, :2]), offset=128)


def _q4_0(rows: Bytes) -> _Quants:
    return _Quants(_nibbles(rows[:, 2:]), _half(rows[:, :2]), offset=8)


def _q4_1(rows: Bytes) -> _Quants:
    return _Quants(_nibbles(rows[:, 4:]), _half(rows[:, :2]), _half(rows[:, 2:4]))


def _fifth_bits(column: Bytes) -> Bytes:
    """Four bytes a row as 32 single bits, lowest first: (blocks, 1, 32)."""
    return np.unpackbits(np.ascontiguousarray(column), axis=1, bitorder="little")[:, None]


def _q5_0(rows: Bytes) -> _Quants:
    numbers = _nibbles(rows[:, 6:]) | (_fifth_bits(rows[:, 2:6]) << 4)
    return _Quants(numbers, _half(rows[:, :2]), offset=16)


def _q5_1(rows: Bytes) -> _Quants:
    numbers = _nibbles(rows[:, 8:]) | (_fifth_bits(rows[:, 4:8]) << 4)
    return _Quants(numbers, _half(rows[:, :2]), _half(rows[:, 2:4]))


def _k_scales(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Eight 6-bit scales and eight 6-bit minimums from 12 bytes a row."""
    low, middle, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 0x3F, (high & 0x0F) | ((low >> 2) & 0x30)], axis=1)
    minimums = np.concatenate([middle & 0x3F, (high >> 4) | ((middle >> 2) & 0x30)], axis=1)
    return scales, minimums


def _k_quants(rows: Bytes, numbers: NDArray[Any]) -> _Quants:
    """Eight groups of 32 with the super-block's scale and minimum."""
    scales, minimums = _k_scales(rows[:, 4:16])
    return _Quants(
        numbers.reshape(-1, 8, 32),
        _half(rows[:, :2]) * scales.astype(np.float32),
        -_half(rows[:, 2:4]) * minimums.astype(np.float32),
    )


def _k_nibbles(packed: Bytes) -> Bytes:
    """128 bytes a row: each run of 32 bytes holds two groups of 32 values."""
    runs = packed.reshape(-1, 4, 1, 32)
    return np.concatenate([runs & 0x0F, runs >> 4], axis=2).reshape(-1, 8, 32)


def _q4_k(rows: Bytes) -> _Quants:
    return _k_quants(rows, _k_nibbles(rows[:, 16:]))


def _q5_k(rows: Bytes) -> _Quants:
    shifts = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    high = (rows[:, 16:48].reshape(-1, 1, 32) >> shifts) & 1
    return _k_quants(rows, _k_nibbles(rows[:, 48:]) | (high << 4))


def _q6_k(rows: Bytes) -> _Quants:
    packed = rows[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate([packed & 0x0F, packed >> 4], axis=2).reshape(-1, 8, 32)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    high = ((rows[:, 128:192].reshape(-1, 2, 1, 32) >> shifts) & 3).reshape(-1, 8, 32)
    scales = _half(rows[:, 208:210]) * rows[:, 192:208].view(np.int8).astype(np.float32)
    return _Quants((low | (high << 4)).reshape(-1, 16, 16), scales, offset=32)


@dataclass(frozen=True, slots=True)
class _Block:
    """A format: values and bytes of one block, bits of a number on its grid (0 without one)."""

    items: int
    size: int
    bits: int
    decode: Callable[[Bytes], Floats | _Quants]


_BLOCKS: dict[TensorKind, _Block] = {
    TensorKind.F32: _Block(1, 4, 0, _f32),
    TensorKind.F16: _Block(1, 2, 0, _f16),
    TensorKind.BF16: _Block(1, 2, 0, _bf16),
    TensorKind.Q8_0: _Block(32, 34, 8, _q8_0),
    TensorKind.Q4_0: _Block(32, 18, 4, _q4_0),
    TensorKind.Q4_1: _Block(32, 20, 4, _q4_1),
    TensorKind.Q5_0: _Block(32, 22, 8, _q5_0),
    TensorKind.Q5_1: _Block(32, 24, 8, _q5_1),
    TensorKind.Q4_K: _Block(256, 144, 4, _q4_k),
    TensorKind.Q5_K: _Block(256, 176, 8, _q5_k),
    TensorKind.Q6_K: _Block(256, 210, 8, _q6_k),
}
