"""The memory behind the blocks: keys and values of every layer, written by slot, read by block.

They are kept as float32, as float16, or as int8 with one float32 scale for each head's key or value
of a token: a half and a quarter of the memory, and not exact.

A slot is one token's place: block * block_tokens + offset. Block 0 is the null block: nothing is
ever written there, so it stays zero and padding may point at it. Decides only the layout: heads
outermost, so that one gather gives each head a contiguous matrix. Does not know sequences.
"""

import mmap
from contextlib import suppress
from enum import StrEnum
from math import prod

import numpy as np
import torch
from torch import Tensor

from tokenyard.engine.model.checkpoints import DecoderShape

INT8_MAX = 127


class KvFormat(StrEnum):
    """How keys and values are kept."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"

    def bytes_per_token(self, shape: DecoderShape) -> int:
        """Keys and values of one token in all layers, scales included."""
        scale_bytes = 4 if self is KvFormat.INT8 else 0
        width = np.dtype(_TYPES[self]).itemsize * shape.head_width + scale_bytes
        return 2 * shape.layers * shape.kv_heads * width


_Number = type[np.float32 | np.float16 | np.int8]
_TYPES: dict[KvFormat, _Number] = {
    KvFormat.FP32: np.float32,
    KvFormat.FP16: np.float16,
    KvFormat.INT8: np.int8,
}


class KvPool:
    """Per layer one tensor (2 * kv_heads, slots, head_width): first the keys, then the values."""

    def __init__(
        self,
        shape: DecoderShape,
        block_count: int,
        block_tokens: int,
        kind: KvFormat = KvFormat.FP32,
    ) -> None:
        self.block_tokens = block_tokens
        self.kind = kind
        self._rows, self._width = 2 * shape.kv_heads, shape.head_width
        size = (self._rows, (block_count + 1) * block_tokens, shape.head_width)
        # Whether what is read is what was written.
        self.exact = kind is KvFormat.FP32
        # The type of what `gather` gives, in which attention is computed.
        self.gathers = torch.float16 if kind is KvFormat.FP16 else torch.float32
        self._layers = [_zeros(size, _TYPES[kind]) for _ in range(shape.layers)]
        self._blocks = [layer.view(-1, block_tokens * shape.head_width) for layer in self._layers]
        # (2 * kv_heads, slots, 1); empty when nothing is scaled.
        self._scales = [
            _zeros((*size[:2], 1), np.float32)
            for _ in range(shape.layers if kind is KvFormat.INT8 else 0)
        ]
        self._first_row = torch.arange(self._rows).unsqueeze(1) * (block_count + 1)
        # What was gathered last: new memory for each layer of each step would cost a page fault
        # for every 4 KiB.
        self._stored = torch.empty(0, dtype=self._layers[0].dtype)
        self._found = torch.empty(0)

    def memory_of(self, layer: int) -> tuple[Tensor, Tensor | None]:
        """A layer, (2 * kv_heads, slots, head_width), and its scales, (2 * kv_heads, slots, 1)."""
        return self._layers[layer], self._scales[layer] if self._scales else None

    def rows_of(self, blocks: Tensor) -> Tensor:
        """Indices for `gather` of these blocks; made once a step and used in every layer."""
        return (self._first_row + blocks).flatten()

    def write(self, layer: int, slots: Tensor, keys_values: Tensor) -> None:
        """Store (tokens, 2 * kv_heads, head_width) at `slots`."""
        rows = keys_values.transpose(0, 1)
        if self._scales:
            # A value is at most 127 steps; a row of zeros has any scale.
            scales = rows.abs().amax(dim=-1, keepdim=True).clamp_(min=1e-30) / INT8_MAX
            self._scales[layer].index_copy_(1, slots, scales)
            rows = (rows / scales).round_()
        self._layers[layer].index_copy_(1, slots, rows.to(self._layers[layer].dtype))

    def gather(self, layer: int, rows: Tensor) -> Tensor:
        """(2 * kv_heads, tokens, head_width) of type `gathers` for the `rows` of some blocks.

        The next call writes over it.
        """
        blocks = self._blocks[layer]
        size = (len(rows), blocks.shape[1])
        self._stored = _at_least(self._stored, size)
        found = torch.index_select(
            blocks, 0, rows, out=self._stored[: size[0] * size[1]].view(size)
        )
        if found.dtype != self.gathers:
            self._found = _at_least(self._found, size)
            found = self._found[: found.numel()].view(size).copy_(found)
        if self._scales:
            scales = self._scales[layer].view(-1, self.block_tokens, 1).index_select(0, rows)
            found.view(len(rows), self.block_tokens, -1).mul_(scales)
        return found.view(self._rows, -1, self._width)

    def clear(self, slots: Tensor) -> None:
        """Set slots to zero, so that a NaN that was stored there cannot spread."""
        for layer in (*self._layers, *self._scales):
            layer.index_fill_(1, slots, 0)


def _at_least(buffer: Tensor, size: tuple[int, int]) -> Tensor:
    """The buffer, or a longer one of its type."""
    count = size[0] * size[1]
    return buffer if buffer.numel() >= count else torch.empty(count, dtype=buffer.dtype)


def _zeros(size: tuple[int, ...], kind: _Number) -> Tensor:
    """Zeros that take memory page by page as they are first written.

    With huge pages, the first block would take 2 MiB for each head of each layer.
    """
    memory = mmap.mmap(
        -1, np.dtype(kind).itemsize * prod(size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    )
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with suppress(OSError):
            # A kernel without huge pages does not know this advice either.
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.from_numpy(np.frombuffer(memory, kind).reshape(size))
