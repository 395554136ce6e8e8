"""Gives memory back that packing only pads.

FBGEMM keeps a packed matrix in pieces of 512 inputs and fills the last piece up with zeros that no
product reads: of a width of 576, 448 of 1,024. The zeros are the end of one allocation, which the C
library maps by itself when it is large. Pages of a private mapping that hold nothing but zeros may
be dropped: they read as zeros when they are touched again. So the mapping that a packing makes is
found by its size, and the whole pages of its padding are dropped once they are seen to be zeros.
Where any of that is otherwise (another system, C library or allocator), nothing is done.
"""

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

# Of the C library's malloc.h and the kernel's mman.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
MADV_DONTNEED = 4
PAGE_BYTES = 4096
# Allocations from here on get a mapping of their own while we pack.
OWN_MAPPING_BYTES = 512 * 1024
# And afterwards: what a step needs for a moment is neither mapped anew nor given back each time.
SERVING_MAPPING_BYTES = 16 * 1024 * 1024
SERVING_KEPT_BYTES = 32 * 1024 * 1024
# A packed matrix: pieces of so many inputs, and outputs in columns of so many.
PIECE_INPUTS = 512
MAPS = Path("/proc/self/maps")

_Packed = TypeVar("_Packed")


class PaddingDropper:
    """Packs matrices one after the other, in one thread; use it as a context."""

    def __init__(self) -> None:
        self._library: Any = None
        # Lists like those that `pack` makes, kept until then: where Python maps an arena for them
        # beside a matrix, the two are one range, and the matrix is not found.
        self._room: list[Any] = []
        if sys.platform == "linux" and MAPS.exists():
            with suppress(AttributeError, OSError):
                library = ctypes.CDLL(None, use_errno=True)
                _ = library.mallopt, library.madvise
                self._library = library
        self.dropped_bytes = 0

    def __enter__(self) -> "PaddingDropper":
        if self._library is not None:
            self._library.mallopt(M_MMAP_THRESHOLD, OWN_MAPPING_BYTES)
            self._room = [_mapped() for _ in range(3)]
        return self

    def __exit__(self, *_: object) -> None:
        if self._library is not None:
            self._library.mallopt(M_MMAP_THRESHOLD, SERVING_MAPPING_BYTES)
            self._library.mallopt(M_TRIM_THRESHOLD, SERVING_KEPT_BYTES)

    def pack(self, outputs: int, inputs: int, packing: Callable[[], _Packed]) -> _Packed:
        """What `packing` gives: a matrix that it packs, of (outputs, inputs)."""
        padded = 2 * outputs * (-(-inputs // PIECE_INPUTS) * PIECE_INPUTS)
        padding = padded - 2 * outputs * inputs
        if self._library is None or padding < OWN_MAPPING_BYTES // 2:
            return packing()
        self._room.clear()
        before = _mapped()
        result = packing()
        for first, last in _new(before, _mapped()):
            # Besides the numbers there is the allocator's own head, and rounding to pages.
            if padded <= last - first <= padded + 4 * PAGE_BYTES:
                self._drop(last - padding, last)
        return result

    def _drop(self, first: int, last: int) -> None:
        """Drop the whole pages in [first, last), from the end while they are zeros."""
        start = -(-first // PAGE_BYTES) * PAGE_BYTES
        zeros = bytes(PAGE_BYTES)
        low = last
        while low > start and ctypes.string_at(low - PAGE_BYTES, PAGE_BYTES) == zeros:
            low -= PAGE_BYTES
        if low < last and not self._library.madvise(
            ctypes.c_void_p(low), ctypes.c_size_t(last - low), MADV_DONTNEED
        ):
            self.dropped_bytes += last - low


def _mapped() -> list[tuple[int, int]]:
    """Private memory without a file, ascending: neighbours are one range."""
    ranges: list[tuple[int, int]] = []
    for line in MAPS.read_text().splitlines():
        fields = line.split()
        if fields[1] == "rw-p" and len(fields) == 5:
            first, _, last = fields[0].partition("-")
            ranges.append((int(first, 16), int(last, 16)))
    return ranges


def _new(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is in `after` and not in `before`."""
    found = []
    for first, last in after:
        place = first
        for begin, end in before:
            if end <= place or begin >= last:
                continue
            if begin > place:
                found.append((place, begin))
            place = max(place, end)
        if place < last:
            found.append((place, last))
    return found
