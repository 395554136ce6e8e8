"""The readers: many connections of one process, and what they saw of a server.

Bytes are looked through for the times that the words are, and not parsed further: the load must
cost less than what it measures. Goes to loopback only.
"""

import asyncio
import base64
import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

_HOST = "127.0.0.1"
_DELTA = b'"delta":"'
# RFC 6455: a final ping frame, unmasked; the server's payloads have four bytes.
_PING = b"\x89\x04"


@dataclass(slots=True)
class Seen:
    """What all readers together saw: how late each word was, in seconds."""

    lags: list[float] = field(default_factory=list)


class Reader(asyncio.Protocol):
    """One connection. first: done when the first word, or the end of the head, is here."""

    def __init__(self, seen: Seen) -> None:
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.head = b""
        self.lost = False
        # Of a WebSocket, whose server closes it when they stay without an answer.
        self.answers_pings = False
        self._seen = seen
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are none of asyncio's classes.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for waiting in (self.first, self.opened):
            if not waiting.done():
                waiting.set_exception(ConnectionError(f"closed: {self.head!r}"))
                waiting.exception()

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self.opened.done():
            self.head += data
            if b"\r\n\r\n" in self.head:
                self.opened.set_result(None)
        if self.answers_pings:
            self._answer_ping(data)
        data = self._rest + data
        parts = data.split(_DELTA)
        # A word that is cut in two is looked at when the other half is here.
        self._rest = b""
        for place, part in enumerate(parts[1:], start=1):
            words, quote, _ = part.partition(b'"')
            if not quote and place == len(parts) - 1:
                self._rest = _DELTA + part
                break
            self._seen.lags.extend(now - float(word) for word in words.split())
            if not self.first.done():
                self.first.set_result(None)

    def _answer_ping(self, data: bytes) -> None:
        """By how one begins: words are ASCII, and a pong too many is ignored."""
        start = data.find(_PING)
        if start >= 0:
            payload = data[start + 2 : start + 2 + _PING[1]]
            self.transport.write(bytes([0x8A, 0x80 | len(payload)]) + bytes(4) + payload)


@dataclass(slots=True)
class Client:
    """Opens connections to one server, whose process it looks at."""

    port: int
    key: str
    pid: int
    seen: Seen = field(default_factory=Seen)
    readers: list[Reader] = field(default_factory=list)

    async def connect(self) -> Reader:
        """A connection, kept until `close`."""
        loop = asyncio.get_running_loop()
        _, reader = await loop.create_connection(lambda: Reader(self.seen), _HOST, self.port)
        self.readers.append(reader)
        return reader

    async def create(self, pace: float) -> tuple[str, Reader]:
        """Ask for an answer of that pace and read it; its id."""
        reader = await self.connect()
        body = json.dumps({"model": "paced", "input": f"{pace:g}", "stream": True}).encode()
        self._request(reader, "POST /v1/responses", body=body)
        await reader.opened
        assert b" 200 " in reader.head[:16], reader.head
        return reader.head.partition(b"x-response-id: ")[2].split(b"\r\n")[0].decode(), reader

    async def read(self, response: str, after: str | None = None) -> Reader:
        """Read an answer on."""
        reader = await self.connect()
        more = "" if after is None else f"last-event-id: {after}\r\n"
        self._request(reader, f"GET /v1/responses/{response}?stream=true", more)
        return reader

    async def open_socket(self, frame: dict[str, Any]) -> Reader:
        """A WebSocket, and the first frame on it."""
        reader = await self.connect()
        key = base64.b64encode(bytes(16)).decode()
        more = (
            "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
            f"sec-websocket-key: {key}\r\n"
        )
        self._request(reader, "GET /v1/responses", more)
        await reader.opened
        reader.answers_pings = True
        data = json.dumps(frame).encode()
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2)
        reader.transport.write(b"\x81" + size + bytes(4) + data)
        return reader

    def cpu_seconds(self) -> float:
        """Of the server's process until now."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def memory_bytes(self) -> int:
        """The server's own memory and its share of what is shared."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))

    async def watch(self, seconds: float) -> dict[str, Any]:
        """What every reader together sees in that time, and what it costs the server."""
        self.seen.lags.clear()
        began, used = time.monotonic(), self.cpu_seconds()
        await asyncio.sleep(seconds)
        took, used = time.monotonic() - began, self.cpu_seconds() - used
        lags = self.seen.lags
        lost = sum(reader.lost for reader in self.readers)
        return {
            "connections": len(self.readers) - lost,
            "connections_lost": lost,
            "events_per_second": round(len(lags) / took),
            "cpu_share_of_a_core": round(used / took, 3),
            "cpu_us_per_event": round(used / max(1, len(lags)) * 1e6, 1),
            **quantiles_ms("delivery", lags),
        }

    async def close(self) -> None:
        """End all connections and let the server notice."""
        for reader in self.readers:
            reader.transport.abort()
        self.readers.clear()
        await asyncio.sleep(1)

    def _request(self, reader: Reader, line: str, more: str = "", body: bytes = b"") -> None:
        head = (
            f"{line} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {self.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n{more}\r\n"
        )
        reader.transport.write(head.encode() + body)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def quantiles_ms(name: str, seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    if len(seconds) < 2:
        return {}
    cuts = statistics.quantiles(seconds, n=100)
    return {f"{name}_p50_ms": round(cuts[49] * 1e3, 2), f"{name}_p99_ms": round(cuts[98] * 1e3, 2)}
