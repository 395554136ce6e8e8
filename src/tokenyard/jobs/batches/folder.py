"""The bytes of files: one file in one folder for each id, complete or not there.

A file is written beside its place, flushed to the disk, and then put there in one step; so what has
a name is whole, and what a crash left half-way has another name and is swept at the next start.
Knows ids and bytes; not whose they are, nor what they say. Disks block, so all of it runs beside
the event loop.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from tokenyard.vocabulary.errors import InternalFailure, Unavailable
from tokenyard.vocabulary.ids import FileId

_PART = ".part"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Read or written at a time; also what one batch holds in memory of its input, beside one line.
PORTION_BYTES = 256 * 1024


class Beside(Protocol):
    """Runs a function that blocks; `asyncio.to_thread`, or in tests a call at once."""

    def __call__(self, work: Callable[..., Any], /, *arguments: Any) -> Awaitable[Any]:
        """The function's result."""
        ...


@dataclass(frozen=True, slots=True)
class RawLine:
    """One line of a file that is not blank; `data` is None when it is longer than allowed."""

    number: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where to read on: bytes and lines that were passed."""

    offset: int = 0
    lines: int = 0


class Writing:
    """A file that is being written; it has no name until `finish`."""

    def __init__(self, path: Path, beside: Beside) -> None:
        self._path = path
        self._part = path.with_name(path.name + _PART)
        self._beside = beside
        self._handle: BinaryIO | None = None
        self._waiting = bytearray()
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Add bytes; raises Unavailable when the disk takes no more."""
        self.size += len(data)
        self._waiting += data
        if len(self._waiting) >= PORTION_BYTES:
            await self._flush()

    async def finish(self) -> None:
        """Put the whole file in its place, safe from the loss of power."""
        await self._flush()
        await self._guarded(self._put)

    async def drop(self) -> None:
        """Forget it; quiet after `finish`."""
        await self._beside(self._discard)

    async def _flush(self) -> None:
        data, self._waiting = bytes(self._waiting), bytearray()
        await self._guarded(self._append, data)

    async def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            await self._beside(work, *arguments)
        except OSError as error:
            raise Unavailable(
                f"The disk does not take the file: {error.strerror}.", retry_after_seconds=5.0
            ) from error

    def _append(self, data: bytes) -> None:
        if self._handle is None:
            self._handle = self._part.open("wb")
        self._handle.write(data)

    def _put(self) -> None:
        assert self._handle is not None
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._handle.close()
        self._handle = None
        self._part.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _discard(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None
        self._part.unlink(missing_ok=True)


class FileFolder:
    """The folder; it is made when it is opened, for its owner alone."""

    def __init__(self, path: Path, *, beside: Beside = asyncio.to_thread) -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._beside = beside

    def path_of(self, file: FileId) -> Path:
        """Where its bytes lie. Ids are ours and hold nothing but letters, digits and `_`."""
        if not file.replace("_", "").isalnum() or not file.isascii():
            raise InternalFailure("This is not the id of a file.")
        return self._path / file

    def write(self, file: FileId) -> Writing:
        """Begin a new file."""
        return Writing(self.path_of(file), self._beside)

    async def remove(self, file: FileId) -> None:
        """Delete its bytes; quiet when they are gone."""
        path = self.path_of(file)
        await self._beside(lambda: path.unlink(missing_ok=True))

    async def has(self, file: FileId) -> bool:
        """Whether its bytes are there."""
        return bool(await self._beside(self.path_of(file).is_file))

    async def sweep(self, known: set[FileId]) -> int:
        """Delete all that is not known, such as what a crash left half-way; how many those were.

        Only before anything is written.
        """
        return int(await self._beside(self._sweep, known))

    async def read_lines(
        self, file: FileId, place: Place, *, line_bytes_max: int
    ) -> tuple[list[RawLine], Place | None]:
        """Some lines from there on, and where to read on; None at the end.

        Raises FileNotFoundError when the bytes are gone.
        """
        found: tuple[list[RawLine], Place | None] = await self._beside(
            _read_lines, self.path_of(file), place, line_bytes_max
        )
        return found

    def _sweep(self, known: set[FileId]) -> int:
        removed = 0
        for path in self._path.iterdir():
            if path.name not in known and path.is_file():
                path.unlink(missing_ok=True)
                removed += 1
        return removed


def _read_lines(
    path: Path, place: Place, line_bytes_max: int
) -> tuple[list[RawLine], Place | None]:
    lines: list[RawLine] = []
    number, size = place.lines, 0
    with path.open("rb") as file:
        file.seek(place.offset)
        while size < PORTION_BYTES:
            # The end of a line, which may be two bytes, does not count.
            data = file.readline(line_bytes_max + 2)
            if not data:
                return lines, None
            number += 1
            cut = len(data) == line_bytes_max + 2 and not data.endswith(b"\n")
            if cut:
                _skip_line(file)
            if cut or len(data.rstrip(b"\r\n")) > line_bytes_max:
                lines.append(RawLine(number, None))
            elif data.strip():
                lines.append(
                    RawLine(number, data.removeprefix(_BYTE_ORDER_MARK) if number == 1 else data)
                )
            size += len(data)
        return lines, Place(file.tell(), number)


def _skip_line(file: BinaryIO) -> None:
    rest = b" "
    while rest and not rest.endswith(b"\n"):
        rest = file.readline(PORTION_BYTES)
