"""Files as text for the model: text files as they are, PDFs by a program of their own.

Decides by content, not by name, and refuses rather than cuts: half a file would be answered as if
it were whole. Does not know where files are kept.
"""

import asyncio
import sys
from typing import Protocol

from tokenyard.chat.pdf_text import LOCKED, TOO_MANY_PAGES
from tokenyard.chat.records import Attachment
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.vocabulary.errors import BodyTooLarge, InvalidRequest
from tokenyard.vocabulary.ids import FileId
from tokenyard.vocabulary.reasons import Reason

_PDF = b"%PDF-"
# What may stand before it.
_BLANK = b"\xef\xbb\xbf \t\r\n\x00"
_BYTES_PER_CHARACTER = 4
_WHY = {LOCKED: "needs a password", TOO_MANY_PAGES: "has too many pages"}


class Told(Protocol):
    """How a program ended, and what it wrote."""

    @property
    def status(self) -> int: ...

    @property
    def output(self) -> bytes: ...


class Bounded(Protocol):
    """Runs a program on bytes; raises TimeoutError, and ValueError when it writes too much."""

    async def __call__(
        self, command: tuple[str, ...], given: bytes, *, seconds_max: float, output_bytes_max: int
    ) -> Told: ...


class Documents:
    """Turns files into attachments."""

    def __init__(self, bounded: Bounded, settings: ChatSettings) -> None:
        self._bounded = bounded
        self._settings = settings
        self._places = asyncio.Semaphore(settings.documents_at_once)

    @property
    def bytes_max(self) -> int:
        """Longest file that is read."""
        return self._settings.attachment_bytes_max

    async def read(self, filename: str, data: bytes, file: FileId | None = None) -> Attachment:
        """The file as text; raises BodyTooLarge, and InvalidRequest for what holds none."""
        if len(data) > self.bytes_max:
            raise BodyTooLarge(
                f"The file '{filename}' is longer than {self.bytes_max} bytes.",
                reason=Reason.FILE_TOO_LARGE,
                param="input",
            )
        text = await self._read_pdf(data, filename) if _is_pdf(data) else _decode(data, filename)
        most = self._settings.attachment_characters_max
        if len(text) > most:
            raise _unreadable(filename, f"has more than {most} characters of text")
        if not text.strip():
            raise _unreadable(filename, "holds no text; a scan has to be recognised first")
        return Attachment(filename, text, file)

    async def _read_pdf(self, data: bytes, filename: str) -> str:
        settings = self._settings
        limits = (settings.pdf_pages_max, settings.pdf_memory_bytes, int(settings.pdf_seconds) + 1)
        command = (sys.executable, "-m", "tokenyard.chat.pdf_text", *(str(one) for one in limits))
        async with self._places:
            try:
                told = await self._bounded(
                    command,
                    data,
                    seconds_max=settings.pdf_seconds,
                    output_bytes_max=settings.attachment_characters_max * _BYTES_PER_CHARACTER,
                )
            except TimeoutError:
                raise _unreadable(filename, "took too long to read") from None
            except ValueError:
                raise _unreadable(filename, "has too much text") from None
        if told.status:
            raise _unreadable(filename, _WHY.get(told.status, "is broken or too complex"))
        return told.output.decode("utf-8", "replace").strip()


def _is_pdf(data: bytes) -> bool:
    return data.lstrip(_BLANK).startswith(_PDF)


def _decode(data: bytes, filename: str) -> str:
    """Text in UTF-8, or in UTF-16 with its mark; anything else is no text to us."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise _unreadable(filename, "is neither a PDF nor text in UTF-8") from None
    if "\x00" in text:
        raise _unreadable(filename, "is neither a PDF nor text in UTF-8")
    return text.replace("\r\n", "\n")


def _unreadable(filename: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The file '{filename}' {why}.", reason=Reason.UNREADABLE_FILE, param="input"
    )
