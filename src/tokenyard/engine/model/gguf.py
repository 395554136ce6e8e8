"""Reading GGUF files: the header at once, the tensors as views of the mapped file.

Decides nothing about models: it yields metadata and named arrays. A file that is cut short or that
lies about itself gives a StartError with a sentence, never a crash or an endless read.
Source: the GGUF specification, version 3 (and 2, which has the same layout).
"""

import mmap
import struct
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tokenyard.engine.model import quantisation
from tokenyard.engine.model.quantisation import Bytes, Floats, Grid, TensorKind
from tokenyard.vocabulary.errors import StartError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT_DEFAULT = 32
# Far above any model we know; a count beyond these is a broken file.
METADATA_ENTRIES_MAX = 65_536
TENSORS_MAX = 65_536
ARRAY_ITEMS_MAX = 16_000_000
DIMENSIONS_MAX = 4
ARRAY_DEPTH_MAX = 2


class ValueKind(IntEnum):
    """Types of metadata values."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_SCALARS = {
    ValueKind.UINT8: "B",
    ValueKind.INT8: "b",
    ValueKind.UINT16: "H",
    ValueKind.INT16: "h",
    ValueKind.UINT32: "I",
    ValueKind.INT32: "i",
    ValueKind.FLOAT32: "f",
    ValueKind.BOOL: "?",
    ValueKind.UINT64: "Q",
    ValueKind.INT64: "q",
    ValueKind.FLOAT64: "d",
}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one tensor lies in the file."""

    name: str
    # Outermost dimension first, as in torch; GGUF writes them the other way round.
    shape: tuple[int, ...]
    kind: TensorKind
    # From the start of the file.
    offset: int
    size_bytes: int


class _Cursor:
    """Reads the header front to back and refuses to leave the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self._data):
            raise _Broken("it ends in the middle of its header")
        piece = self._data[self.position : end]
        self.position = end
        return piece

    def scalar(self, letter: str) -> Any:
        (value,) = struct.unpack("<" + letter, self.take(struct.calcsize("<" + letter)))
        return value

    def string(self) -> str:
        return self.take(self.scalar("Q")).decode("utf-8", errors="replace")

    def value(self, kind: ValueKind, depth: int = 0) -> Any:
        if kind is ValueKind.STRING:
            return self.string()
        if kind is not ValueKind.ARRAY:
            return self.scalar(_SCALARS[kind])
        if depth >= ARRAY_DEPTH_MAX:
            raise _Broken("its metadata nests arrays too deeply")
        item_kind, count = _value_kind(self.scalar("I")), self.scalar("Q")
        if count > ARRAY_ITEMS_MAX:
            raise _Broken(f"a metadata array claims {count} items")
        letter = _SCALARS.get(item_kind)
        if letter is None:
            return [self.value(item_kind, depth + 1) for _ in range(count)]
        layout = f"<{count}{letter}"
        return list(struct.unpack(layout, self.take(struct.calcsize(layout))))


class _Broken(Exception):
    """The file is not what it claims; becomes a StartError that names the file."""


def _value_kind(number: int) -> ValueKind:
    try:
        return ValueKind(number)
    except ValueError:
        raise _Broken(f"unknown metadata type {number}") from None


class GgufFile:
    """An open GGUF file: `metadata` by key, `tensors` by name."""

    # Of Llama only: converters reorder its queries and keys so that a rotation turns neighbours.
    @property
    def neighbours(self) -> bool:
        return self.metadata.get("general.architecture") == "llama"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as source:
                self._map = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise StartError(f"The model file {path} cannot be read: {error}.") from None
        try:
            self.metadata, self.tensors = _read_header(_Cursor(self._map), len(self._map))
        except _Broken as error:
            self._map.close()
            raise StartError(
                f"{path} is not a usable GGUF file: {error}. Fetch it again."
            ) from None

    def dequantised(self, name: str) -> Floats:
        """The tensor as float32; raises StartError when the file has none of that name."""
        result: Floats = np.empty(self.shape(name), dtype=np.float32)
        self.dequantise_into(name, result)
        return result

    def dequantise_into(self, name: str, result: Floats) -> None:
        """The same into contiguous memory of as many values."""
        quantisation.dequantise(self._raw(name), self._entry(name).kind, result.reshape(-1))

    def grid(self, name: str) -> Grid | None:
        """A matrix on the grid that it is stored on; None where it is stored as plain numbers."""
        entry = self._entry(name)
        return quantisation.read_grid(self._raw(name), entry.kind, entry.shape[0])

    def open_rows(self, name: str) -> "Rows":
        """The tensor's rows, read and dequantised when they are asked for."""
        return Rows(self.path, self._entry(name))

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entry(name).shape

    def _raw(self, name: str) -> Bytes:
        entry = self._entry(name)
        return np.frombuffer(self._map, np.uint8, entry.size_bytes, entry.offset)

    def _entry(self, name: str) -> TensorEntry:
        entry = self.tensors.get(name)
        if entry is None:
            raise StartError(f"{self.path} has no tensor {name!r}; it is not a whole model.")
        return entry

    def close(self) -> None:
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Rows:
    """Single rows of a quantised table, straight from the file; its pages are the system's to keep.

    An embedding is read a few rows a step, so it need not be unpacked into memory of ours. The map
    lives as long as this object.
    """

    def __init__(self, path: Path, entry: TensorEntry) -> None:
        with path.open("rb") as source:
            mapped = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
        self._kind = entry.kind
        self._width = entry.shape[-1]
        raw = np.frombuffer(mapped, np.uint8, entry.size_bytes, entry.offset)
        self._raw = raw.reshape(entry.shape[0], -1)

    def read(self, numbers: NDArray[np.int64]) -> Floats:
        """(numbers, width) float32."""
        result: Floats = np.empty((len(numbers), self._width), dtype=np.float32)
        raw = self._raw[numbers]
        quantisation.dequantise(raw.reshape(-1), self._kind, result.reshape(-1))
        return result


def _read_header(cursor: _Cursor, file_bytes: int) -> tuple[dict[str, Any], dict[str, TensorEntry]]:
    if cursor.take(4) != MAGIC:
        raise _Broken("it does not start with GGUF")
    version = cursor.scalar("I")
    if version not in VERSIONS:
        raise _Broken(f"its version is {version}, we read {VERSIONS}")
    tensor_count, metadata_count = cursor.scalar("Q"), cursor.scalar("Q")
    if tensor_count > TENSORS_MAX or metadata_count > METADATA_ENTRIES_MAX:
        raise _Broken(f"it claims {tensor_count} tensors and {metadata_count} metadata entries")
    metadata: dict[str, Any] = {}
    for _ in range(metadata_count):
        key = cursor.string()
        metadata[key] = cursor.value(_value_kind(cursor.scalar("I")))
    headers = [_read_tensor_header(cursor) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", ALIGNMENT_DEFAULT)
    if not isinstance(alignment, int) or alignment < 1 or alignment > 1 << 20:
        raise _Broken(f"its alignment is {alignment!r}")
    start = -(-cursor.position // alignment) * alignment
    tensors: dict[str, TensorEntry] = {}
    for name, shape, kind, offset in headers:
        size = quantisation.size_bytes(kind, prod(shape)) if shape[-1] else 0
        if shape[-1] % quantisation.block_items(kind):
            raise _Broken(f"tensor {name!r} has rows of {shape[-1]}, not whole {kind.name} blocks")
        if name in tensors:
            raise _Broken(f"it holds tensor {name!r} twice")
        if start + offset + size > file_bytes:
            raise _Broken(f"tensor {name!r} lies beyond the end of the file")
        tensors[name] = TensorEntry(name, shape, kind, start + offset, size)
    return metadata, tensors


def _read_tensor_header(cursor: _Cursor) -> tuple[str, tuple[int, ...], TensorKind, int]:
    name = cursor.string()
    dimension_count = cursor.scalar("I")
    if not 1 <= dimension_count <= DIMENSIONS_MAX:
        raise _Broken(f"tensor {name!r} has {dimension_count} dimensions")
    shape = tuple(cursor.scalar("Q") for _ in range(dimension_count))[::-1]
    number = cursor.scalar("I")
    try:
        kind = TensorKind(number)
    except ValueError:
        known = ", ".join(kind.name for kind in TensorKind)
        raise _Broken(f"tensor {name!r} has type {number}; we read {known}") from None
    return name, shape, kind, cursor.scalar("Q")
