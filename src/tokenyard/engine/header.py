"""What a GGUF file says of itself before its tensors: numbers, texts and names, without numpy.

For those that must know a model's shape where the engine's own packages are not installed. Long
lists, such as the vocabulary, are counted and passed over. A file that is cut short or lies gives
a StartError with a sentence. Source: the GGUF specification, versions 2 and 3.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tokenyard.vocabulary.errors import StartError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
TEXT_BYTES_MAX = 16 * 1024 * 1024
ENTRIES_MAX = 65_536
LIST_ITEMS_MAX = 16_000_000
DIMENSIONS_MAX = 4
_LETTERS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_TEXT, _LIST = 8, 9


@dataclass(frozen=True, slots=True)
class Header:
    """The beginning of a GGUF file."""

    metadata: Mapping[str, int | float | bool | str]
    # The lists among the metadata, which are not kept: how many items each has.
    lengths: Mapping[str, int]
    # Outermost dimension first, as in torch.
    tensors: Mapping[str, tuple[int, ...]]


def read_header(path: Path) -> Header:
    """Read it; raises StartError when it is not whole."""
    try:
        with path.open("rb") as file:
            return _read(_Reader(file, path.stat().st_size))
    except OSError as error:
        raise StartError(f"The model file {path} cannot be read: {error.strerror}.") from None
    except _Broken as error:
        raise StartError(f"{path} is not a usable GGUF file: {error}. Fetch it again.") from None


class _Broken(Exception):
    """The file is not what it claims."""


class _Reader:
    """Reads front to back and never past the end."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def take(self, count: int) -> bytes:
        self._spend(count)
        piece = self._file.read(count)
        if len(piece) != count:
            raise _Broken("it ends in the middle of its header")
        return piece

    def skip(self, count: int) -> None:
        self._spend(count)
        self._file.seek(count, 1)

    def number(self, letter: str) -> Any:
        (value,) = struct.unpack("<" + letter, self.take(struct.calcsize("<" + letter)))
        return value

    def text(self) -> str:
        length = self.number("Q")
        if length > TEXT_BYTES_MAX:
            raise _Broken(f"a text in it claims {length} bytes")
        return self.take(length).decode(errors="replace")

    def _spend(self, count: int) -> None:
        if count > self._left:
            raise _Broken("it ends in the middle of its header")
        self._left -= count


def _read(reader: _Reader) -> Header:
    if reader.take(4) != MAGIC:
        raise _Broken("it does not start with GGUF")
    version = reader.number("I")
    if version not in VERSIONS:
        raise _Broken(f"its version is {version}, we read {VERSIONS}")
    tensor_count, entry_count = reader.number("Q"), reader.number("Q")
    if max(tensor_count, entry_count) > ENTRIES_MAX:
        raise _Broken(f"it claims {tensor_count} tensors and {entry_count} metadata entries")
    metadata: dict[str, int | float | bool | str] = {}
    lengths: dict[str, int] = {}
    for _ in range(entry_count):
        key, kind = reader.text(), reader.number("I")
        if kind == _LIST:
            lengths[key] = _skip_list(reader)
        else:
            metadata[key] = reader.text() if kind == _TEXT else reader.number(_letter(kind))
    tensors = dict(_read_tensor(reader) for _ in range(tensor_count))
    return Header(metadata, lengths, tensors)


def _skip_list(reader: _Reader) -> int:
    kind, count = reader.number("I"), reader.number("Q")
    if count > LIST_ITEMS_MAX:
        raise _Broken(f"a list in it claims {count} items")
    if kind == _LIST:
        raise _Broken("it has lists of lists, which no model needs")
    if kind != _TEXT:
        reader.skip(int(count) * struct.calcsize("<" + _letter(kind)))
        return int(count)
    for _ in range(count):
        reader.skip(reader.number("Q"))
    return int(count)


def _read_tensor(reader: _Reader) -> tuple[str, tuple[int, ...]]:
    name, dimensions = reader.text(), reader.number("I")
    if not 1 <= dimensions <= DIMENSIONS_MAX:
        raise _Broken(f"tensor {name!r} has {dimensions} dimensions")
    shape = tuple(reader.number("Q") for _ in range(dimensions))[::-1]
    reader.skip(4 + 8)  # its type and where it lies
    return name, shape


def _letter(kind: int) -> str:
    if kind not in _LETTERS:
        raise _Broken(f"unknown metadata type {kind}")
    return _LETTERS[kind]
