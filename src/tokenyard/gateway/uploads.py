"""Forms that carry a file (multipart/form-data, RFC 7578), read as they come.

The bytes of the file go on at once, so memory holds one chunk; the other fields are short and kept.
Decides what a well-formed form is; does not know what its fields mean.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from tokenyard.gateway.presence import ReaderGone
from tokenyard.vocabulary.errors import InvalidRequest
from tokenyard.vocabulary.reasons import Reason

FILE_FIELD = "file"
FIELDS_MAX = 16
FIELD_BYTES_MAX = 4_096
FILENAME_MAX = 255

Take = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Form:
    """What came beside the bytes of the file; `filename` is None when there was no file."""

    filename: str | None = None
    fields: dict[str, str] = field(default_factory=dict)


async def read_form(request: Request, take: Take, *, silence_seconds: float) -> Form:
    """Read the whole form, handing the bytes of the field `file` to `take` in order.

    Raises InvalidRequest for what is no such form or sends nothing for `silence_seconds`,
    ReaderGone when the client leaves, and whatever `take` raises.
    """
    reading = _Reading(_boundary_of(request))
    chunks = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(silence_seconds):
                chunk = await anext(chunks, None)
        except ClientDisconnect:
            raise ReaderGone from None
        except TimeoutError:
            raise InvalidRequest(
                f"The upload sent nothing for {silence_seconds:g} s.", param=FILE_FIELD
            ) from None
        if chunk is None:
            return reading.end()
        for data in reading.feed(chunk):
            await take(data)


class _Reading:
    """The parser's callbacks, gathered into a form."""

    def __init__(self, boundary: bytes) -> None:
        self._form = Form()
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = ""
        # The field that is being read; None for the file.
        self._name: str | None = None
        self._text = bytearray()
        self._file: list[bytes] = []
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_to_header,
                    "on_header_value": self._add_to_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_body,
                    "on_part_data": self._add_body,
                    "on_part_end": self._end_part,
                    "on_end": self._end_all,
                },
            )
        except FormParserError as error:
            raise _malformed(str(error)) from None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes of the body; gives the bytes of the file among them."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed(str(error)) from None
        found, self._file = self._file, []
        return found

    def end(self) -> Form:
        """The form; raises InvalidRequest when it was cut off."""
        if not self._ended:
            raise _malformed("it ends before its last boundary")
        return self._form

    def _begin_part(self) -> None:
        self._disposition = ""
        self._header.clear()
        self._value.clear()

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value.decode("latin-1")
        self._header.clear()
        self._value.clear()

    def _begin_body(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("latin-1")
        if not name:
            raise _malformed("a part has no name")
        if name == FILE_FIELD:
            if self._form.filename is not None:
                raise InvalidRequest("The form has more than one file.", param=FILE_FIELD)
            self._form.filename = _clean_filename(options.get(b"filename", b""))
            self._name = None
            return
        if name in self._form.fields or len(self._form.fields) >= FIELDS_MAX:
            raise _malformed(f"the field '{name[:64]}' comes twice, or there are too many")
        self._name = name
        self._text.clear()

    def _add_body(self, data: bytes, start: int, end: int) -> None:
        if self._name is None:
            self._file.append(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > FIELD_BYTES_MAX:
            raise InvalidRequest(
                f"A field of the form is longer than {FIELD_BYTES_MAX} bytes.", param=self._name
            )

    def _end_part(self) -> None:
        if self._name is not None:
            self._form.fields[self._name] = self._text.decode("utf-8", errors="replace")

    def _end_all(self) -> None:
        self._ended = True


def _boundary_of(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidRequest(
            "Send the file as multipart/form-data with the fields 'file' and 'purpose'.",
            param=FILE_FIELD,
        )
    return boundary


def _clean_filename(told: bytes) -> str:
    """A name to show: without folders, control characters or an end."""
    name = told.decode("utf-8", errors="replace").replace("\\", "/").rpartition("/")[2]
    shown = "".join(letter for letter in name if letter.isprintable())
    return shown[:FILENAME_MAX] or "upload"


def _malformed(why: str) -> InvalidRequest:
    return InvalidRequest(f"The form cannot be read: {why}.", reason=Reason.INVALID_VALUE)
