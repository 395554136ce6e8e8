"""A model server that costs as little as possible: `python fake_server.py PORT`.

Answers chat completions at once, or as a stream of chunks at a steady pace; each chunk carries the
time at which it was sent, so that whoever reads it knows how late it is. No framework: one
asyncio protocol over httptools, so that what is measured is not this.
"""

import asyncio
import json
import sys
import time
from typing import Any

import httptools
import uvloop

MODEL = "fake"
PROMPT_TOKENS = 20
USAGE = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": 100, "total_tokens": 120}
TEXT = "word " * 100
WHOLE = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL,
        "choices": [{
            "index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop",
        }],
        "usage": USAGE,
    }
).encode()  # fmt: skip
MODELS = json.dumps(
    {"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": 8192}]}
).encode()
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}


def chunk(number: int) -> bytes:
    """About 250 bytes, with the time at which it is sent."""
    delta = {"content": f"{time.time():.6f} " + "x" * 60}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return b"data: " + json.dumps({**HEAD, "choices": [choice]}).encode() + b"\n\n"


class Server(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.parser = httptools.HttpRequestParser(self)
        self.path, self.body = b"", b""
        self.streaming: asyncio.Task[None] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.streaming is not None:
            self.streaming.cancel()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.path, self.body = url, b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.path == b"/v1/models":
            self._answer(MODELS)
        elif self.path != b"/v1/chat/completions":
            self._answer(b"{}")
        elif b'"stream":true' in self.body or b'"stream": true' in self.body:
            asked = json.loads(self.body)
            self.streaming = asyncio.get_running_loop().create_task(self._stream(asked))
        else:
            self._answer(WHOLE)

    def _answer(self, body: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (len(body), body)
        )

    async def _stream(self, asked: dict[str, Any]) -> None:
        # The pace comes in a field that every gateway passes on.
        count, pause = int(asked["max_tokens"]), float(asked.get("user") or "0.05")
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        loop = asyncio.get_running_loop()
        due = loop.time()
        for number in range(count):
            self._part(chunk(number))
            due += pause
            await asyncio.sleep(max(due - loop.time(), 0))
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        self._part(b"data: " + json.dumps({**HEAD, "choices": [choice]}).encode() + b"\n\n")
        if (asked.get("stream_options") or {}).get("include_usage"):
            usage = {**HEAD, "choices": [], "usage": {**USAGE, "completion_tokens": count}}
            self._part(b"data: " + json.dumps(usage).encode() + b"\n\n")
        self._part(b"data: [DONE]\n\n")
        self.transport.write(b"0\r\n\r\n")

    def _part(self, data: bytes) -> None:
        self.transport.write(b"%x\r\n%s\r\n" % (len(data), data))


async def main(port: int) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
