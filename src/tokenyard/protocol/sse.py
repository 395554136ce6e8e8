"""Server-sent events: framing and an incremental parser, after section 9.2 of the HTML standard."""

from dataclasses import dataclass

CONTENT_TYPE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
# An event longer than this is an attack or a fault, not a token.
EVENT_BYTES_MAX = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event: its data lines joined by newlines, and the type and id it was sent with."""

    data: bytes
    event: str = "message"
    id: str | None = None


def frame(data: bytes, *, event: str | None = None, id: str | None = None) -> bytes:
    """Encode one event. JSON holds no raw newline; other data is split into data lines."""
    head = "" if event is None else f"event: {event}\n"
    if id is not None:
        head += f"id: {id}\n"
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\n" in data:
        data = data.replace(b"\n", b"\ndata: ")
    return b"%bdata: %b\n\n" % (head.encode(), data)


def comment(text: str) -> bytes:
    """A line that every reader passes over which does not look for it. text: one line.

    No empty line follows: to OpenAI's Python client that is an event without data, as soon as it
    has seen an id.
    """
    return b": " + text.encode() + b"\n"


HEARTBEAT = comment("keep-alive")


class SseParser:
    """Feed it chunks cut anywhere, inside a character or a line ending too; it yields events."""

    def __init__(self, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._event_bytes_max = event_bytes_max
        self._buffer = bytearray()
        self._size = 0
        self._started = False
        self._skip_newline = False
        self._data: list[bytes] = []
        self._event = ""
        self._id: str | None = None

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take the next bytes; raises ValueError when one event passes the size limit."""
        self._buffer += chunk
        if not self._started:
            if len(self._buffer) < 3 and b"\xef\xbb\xbf".startswith(self._buffer):
                return []
            self._started = True
            if self._buffer.startswith(b"\xef\xbb\xbf"):
                del self._buffer[:3]
        if self._skip_newline and self._buffer:
            if self._buffer[0] == 0x0A:
                del self._buffer[:1]
            self._skip_newline = False
        events = []
        for line in self._lines():
            event = self._take(line)
            if event is not None:
                events.append(event)
        if self._size + len(self._buffer) > self._event_bytes_max:
            raise ValueError(f"an event is longer than {self._event_bytes_max} bytes")
        return events

    def _lines(self) -> list[bytes]:
        """Cut complete lines off the buffer; a line ends with LF, CR or CR LF."""
        lines = []
        start = 0
        buffer = self._buffer
        while True:
            line_feed = buffer.find(b"\n", start)
            carriage = buffer.find(b"\r", start, line_feed if line_feed >= 0 else len(buffer))
            if carriage >= 0:
                lines.append(bytes(buffer[start:carriage]))
                start = carriage + 1
                if start == len(buffer):
                    self._skip_newline = True
                elif buffer[start] == 0x0A:
                    start += 1
            elif line_feed >= 0:
                lines.append(bytes(buffer[start:line_feed]))
                start = line_feed + 1
            else:
                break
        del buffer[:start]
        return lines

    def _take(self, line: bytes) -> SseEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif field == b"event":
            self._event = value.decode(errors="replace")
        elif field == b"id" and b"\x00" not in value:
            self._id = value.decode(errors="replace")
        return None

    def _dispatch(self) -> SseEvent | None:
        data, event = self._data, self._event
        self._data, self._event, self._size = [], "", 0
        if not data:
            return None
        return SseEvent(b"\n".join(data), event or "message", self._id)


class SseCutter:
    """Feed it chunks cut anywhere; it gives back whole events as they came, several at a time.

    For streams that are passed on: only where events end is looked for, not what they say.
    """

    def __init__(self, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._event_bytes_max = event_bytes_max
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """The events that are whole by now; raises ValueError when one passes the size limit."""
        rest = self._rest
        if not rest and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            return chunk
        # The end may lie across the border, and a CR at the border may be half of a CR LF.
        start = max(len(rest) - 1, 0)
        rest += chunk
        if b"\r" in rest:
            held = rest.endswith(b"\r") and not rest.endswith(b"\r\r")
            plain = bytes(rest[:-1] if held else rest)
            rest[:] = plain.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            if held:
                rest += b"\r"
            start = 0
        end = rest.rfind(b"\n\n", start)
        block = b""
        if end >= 0:
            block = bytes(rest[: end + 2])
            del rest[: end + 2]
        if len(rest) > self._event_bytes_max:
            raise ValueError(f"an event is longer than {self._event_bytes_max} bytes")
        return block


def count_plain(block: bytes) -> int:
    """How many events a block of whole ones has; 0 unless each is one line of data with JSON."""
    count = block.count(b"\n\n")
    plain = (
        block.startswith(b"data: {")
        and block.count(b"\ndata: {") == count - 1
        and block.count(b"}\n\n") == count
        and block.count(b"\n") == 2 * count
    )
    return count if plain else 0


def data_of(block: bytes) -> list[bytes]:
    """The data of every event in a block, whatever else it holds."""
    if count_plain(block):
        return [part[6:] for part in block[:-2].split(b"\n\n")]
    return [event.data for event in SseParser().feed(block)]
