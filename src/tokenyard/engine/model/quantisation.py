"""The block formats of GGUF, turned back into float32 with numpy.

Each function takes whole blocks as rows of bytes, (blocks, block bytes), and gives (blocks, items).
The arithmetic is done in float32 in the order of the reference, so results are equal to the bit.
Source: the block structs of ggml (`block_q4_1`, `block_q6_K`, …).
"""

from collections.abc import Callable
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
    return _BLOCKS[kind][0]


def size_bytes(kind: TensorKind, items: int) -> int:
    """Bytes of a tensor with that many values."""
    per_block, block_bytes, _ = _BLOCKS[kind]
    return items // per_block * block_bytes


def dequantise(raw: Bytes, kind: TensorKind, result: Floats) -> None:
    """Write the values of whole blocks to the flat `result`, a cache-sized piece at a time.

    Pieces keep the memory beside the result small, and are faster than all at once.
    """
    items, block_bytes, decode = _BLOCKS[kind]
    rows = raw.reshape(-1, block_bytes)
    step = max(PIECE_ITEMS // items, 1)
    for first in range(0, len(rows), step):
        piece = decode(rows[first : first + step])
        result[first * items : first * items + piece.size] = piece.reshape(-1)


def _half(column: Bytes) -> Floats:
    """Two bytes a row as one float16, widened: (blocks, 1)."""
    return np.ascontiguousarray(column).view(np.float16).astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """(blocks, n) bytes to (blocks, 2n) values: all the low halves, then all the high halves."""
    return np.concatenate([packed & 0x0F, packed >> 4], axis=1)


def _f32(rows: Bytes) -> Floats:
    return rows.view(np.float32)


def _f16(rows: Bytes) -> Floats:
    return rows.view(np.float16).astype(np.float32)


def _bf16(rows: Bytes) -> Floats:
    return (rows.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _q8_0(rows: Bytes) -> Floats:
    return rows[:, 2:].view(np.int8).astype(np.float32) * _half(rows[:, :2])


def _q4_0(rows: Bytes) -> Floats:
    values = _nibbles(rows[:, 2:]).astype(np.float32)
    values -= 8
    values *= _half(rows[:, :2])
    return values


def _q4_1(rows: Bytes) -> Floats:
    values = _nibbles(rows[:, 4:]).astype(np.float32)
    values *= _half(rows[:, :2])
    values += _half(rows[:, 2:4])
    return values


def _fifth_bits(column: Bytes) -> Bytes:
    """Four bytes a row as 32 single bits, lowest first."""
    return np.unpackbits(np.ascontiguousarray(column), axis=1, bitorder="little")


def _q5_0(rows: Bytes) -> Floats:
    values = (_nibbles(rows[:, 6:]) | (_fifth_bits(rows[:, 2:6]) << 4)).astype(np.float32)
    values -= 16
    values *= _half(rows[:, :2])
    return values


def _q5_1(rows: Bytes) -> Floats:
    values = (_nibbles(rows[:, 8:]) | (_fifth_bits(rows[:, 4:8]) << 4)).astype(np.float32)
    values *= _half(rows[:, :2])
    values += _half(rows[:, 2:4])
    return values


def _k_scales(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Eight 6-bit scales and eight 6-bit minimums from 12 bytes a row."""
    low, middle, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 0x3F, (high & 0x0F) | ((low >> 2) & 0x30)], axis=1)
    minimums = np.concatenate([middle & 0x3F, (high >> 4) | ((middle >> 2) & 0x30)], axis=1)
    return scales, minimums


def _k_values(rows: Bytes, quants: NDArray[Any]) -> Floats:
    """Scale and shift eight groups of 32 with the super-block's scale and minimum."""
    scales, minimums = _k_scales(rows[:, 4:16])
    scale = _half(rows[:, :2]) * scales.astype(np.float32)
    minimum = _half(rows[:, 2:4]) * minimums.astype(np.float32)
    values = quants.reshape(-1, 8, 32).astype(np.float32)
    values *= scale[:, :, None]
    values -= minimum[:, :, None]
    return values.reshape(-1, 256)


def _k_nibbles(packed: Bytes) -> Bytes:
    """128 bytes a row: each run of 32 bytes holds two groups of 32 values."""
    runs = packed.reshape(-1, 4, 1, 32)
    return np.concatenate([runs & 0x0F, runs >> 4], axis=2).reshape(-1, 8, 32)


def _q4_k(rows: Bytes) -> Floats:
    return _k_values(rows, _k_nibbles(rows[:, 16:]))


def _q5_k(rows: Bytes) -> Floats:
    shifts = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    high = (rows[:, 16:48].reshape(-1, 1, 32) >> shifts) & 1
    return _k_values(rows, _k_nibbles(rows[:, 48:]) | (high << 4))


def _q6_k(rows: Bytes) -> Floats:
    packed = rows[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate([packed & 0x0F, packed >> 4], axis=2).reshape(-1, 8, 32)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    high = ((rows[:, 128:192].reshape(-1, 2, 1, 32) >> shifts) & 3).reshape(-1, 8, 32)
    values = (low | (high << 4)).astype(np.int8) - np.int8(32)
    scales = _half(rows[:, 208:210]) * rows[:, 192:208].view(np.int8).astype(np.float32)
    scaled: Floats = values.reshape(-1, 16, 16).astype(np.float32) * scales[:, :, None]
    return scaled.reshape(-1, 256)


_BLOCKS: dict[TensorKind, tuple[int, int, Callable[[Bytes], Floats]]] = {
    TensorKind.F32: (1, 4, _f32),
    TensorKind.F16: (1, 2, _f16),
    TensorKind.BF16: (1, 2, _bf16),
    TensorKind.Q8_0: (32, 34, _q8_0),
    TensorKind.Q4_0: (32, 18, _q4_0),
    TensorKind.Q4_1: (32, 20, _q4_1),
    TensorKind.Q5_0: (32, 22, _q5_0),
    TensorKind.Q5_1: (32, 24, _q5_1),
    TensorKind.Q4_K: (256, 144, _q4_k),
    TensorKind.Q5_K: (256, 176, _q5_k),
    TensorKind.Q6_K: (256, 210, _q6_k),
}
