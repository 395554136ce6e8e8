"""The memory behind the blocks: keys and values of every layer, addressed by slot.

A slot is one token's place: block * block_tokens + offset. Block 0 is the null block: nothing is
ever written there, so it stays zero and padding may point at it. Decides only the layout: heads
outermost, so that one gather gives each head a contiguous matrix. Does not know sequences.
"""

import mmap
from contextlib import suppress
from math import prod

import numpy as np
import torch
from torch import Tensor

from tokenyard.engine.model.checkpoints import DecoderShape


class KvPool:
    """Per layer one tensor (2 * kv_heads, slots, head_width): first the keys, then the values."""

    def __init__(self, shape: DecoderShape, block_count: int, block_tokens: int) -> None:
        self._rows = 2 * shape.kv_heads
        self.slot_count = (block_count + 1) * block_tokens
        size = (self._rows, self.slot_count, shape.head_width)
        self._layers = [_zeros(size) for _ in range(shape.layers)]
        self._flat = [layer.view(-1, shape.head_width) for layer in self._layers]
        self._first_row = torch.arange(self._rows).unsqueeze(1) * self.slot_count

    def rows_of(self, slots: Tensor) -> Tensor:
        """Indices for `gather` of these slots; made once a step and used in every layer."""
        return (self._first_row + slots).flatten()

    def write(self, layer: int, slots: Tensor, keys_values: Tensor) -> None:
        """Store (tokens, 2 * kv_heads, head_width) at `slots`."""
        self._layers[layer].index_copy_(1, slots, keys_values.transpose(0, 1))

    def gather(self, layer: int, rows: Tensor) -> Tensor:
        """(2 * kv_heads, slots, head_width) for the `rows` of some slots."""
        return (
            self._flat[layer].index_select(0, rows).view(self._rows, -1, self._flat[layer].shape[1])
        )

    def clear(self, slots: Tensor) -> None:
        """Set slots to zero, so that a NaN that was stored there cannot spread."""
        for layer in self._layers:
            layer.index_fill_(1, slots, 0.0)


def _zeros(size: tuple[int, ...]) -> Tensor:
    """Zeros that take memory page by page as they are first written.

    With huge pages, the first block would take 2 MiB for each head of each layer.
    """
    memory = mmap.mmap(-1, 4 * prod(size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with suppress(OSError):
            # A kernel without huge pages does not know this advice either.
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.from_numpy(np.frombuffer(memory, np.float32).reshape(size))
