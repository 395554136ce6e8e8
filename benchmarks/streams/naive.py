"""The plain way, as a process: `python naive.py VALKEY_URL`; needs requirements/plain.txt.

A framework's helper for server-sent events, one awaited append for each event, and one reader
connection for each stream. The same HTTP server, loop and parser as ours, the same words, Python's
defaults otherwise. Prints its port.
"""

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator

import uvicorn
import uvloop
from redis.asyncio import Redis
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

KEPT = 1_000


class Streams:
    """Answers, each of which is a stream of Valkey."""

    def __init__(self, url: str) -> None:
        self._valkey = Redis.from_url(url, max_connections=100_000, socket_timeout=None, protocol=2)
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def _produce(self, name: str, pace: float) -> None:
        number = 0
        while True:
            data = {
                "type": "response.output_text.delta",
                "sequence_number": number,
                "item_id": "msg_0123456789abcdef01234567",
                "delta": f"{time.monotonic():.6f} ",
                "output_index": 0,
                "content_index": 0,
                "logprobs": [],
            }
            await self._valkey.xadd(name, {"data": json.dumps(data, separators=(",", ":"))})
            if not pace:
                await asyncio.Event().wait()
            number += 1
            await asyncio.sleep(1 / pace)

    async def _read(self, name: str, last: str) -> AsyncIterator[dict[str, str]]:
        while True:
            for _, entries in await self._valkey.xread({name: last}, block=10_000) or ():
                for entry, fields in entries:
                    last = entry.decode()
                    yield {
                        "event": "response.output_text.delta",
                        "id": last,
                        "data": fields[b"data"].decode(),
                    }

    async def create(self, request: Request) -> EventSourceResponse:
        """Begin an answer and read it."""
        asked = await request.json()
        self._count += 1
        name = f"resp_{self._count:024x}"
        task = asyncio.create_task(self._produce(name, float(asked["input"])))
        self._tasks.add(task)
        return EventSourceResponse(self._read(name, "0"), headers={"x-response-id": name})

    async def get(self, request: Request) -> EventSourceResponse:
        """Read one on."""
        last = request.headers.get("last-event-id", "0")
        return EventSourceResponse(self._read(request.path_params["id"], last))


async def main(url: str) -> None:
    """Until killed."""
    streams = Streams(url)
    app = Starlette(
        routes=[
            Route("/v1/responses", streams.create, methods=["POST"]),
            Route("/v1/responses/{id}", streams.get),
        ]
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    sys.stdout.write(json.dumps({"port": listener.getsockname()[1], "key": "none"}) + "\n")
    sys.stdout.flush()
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", http="httptools", ws="none"
    )
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))
