"""The least that a gateway can do: `python raw_pass_through.py PORT UPSTREAM_PORT CLIENT`.

uvicorn in front, bytes between, and behind them `aiohttp` or `ours`, the connections that our
gateway has; no keys, limits, ledger, metrics or parsing. What our gateway costs more than the one
with the same connections is what it does more.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import uvicorn

from tokenyard.upstreams.connections import Connections

UPSTREAM = f"http://127.0.0.1:{sys.argv[2]}"
HEADERS = {"content-type": "application/json"}
SESSIONS: list[aiohttp.ClientSession] = []
CONNECTIONS: list[Connections] = []
SECONDS = 60.0

Answer = tuple[int, bytes, AsyncIterator[bytes]]


@asynccontextmanager
async def ask_by_aiohttp(path: str, body: bytes) -> AsyncIterator[Answer]:
    """What the server answers: status, type, and the body in pieces."""
    if not SESSIONS:
        SESSIONS.append(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        )  # fmt: skip
    async with SESSIONS[0].post(UPSTREAM + path, data=body, headers=HEADERS) as answer:
        kind = answer.headers["content-type"].encode()
        yield answer.status, kind, answer.content.iter_any()


@asynccontextmanager
async def ask_by_ours(path: str, body: bytes) -> AsyncIterator[Answer]:
    """The same."""
    if not CONNECTIONS:
        CONNECTIONS.append(
            Connections(UPSTREAM, headers=HEADERS, connect_seconds=2, idle_seconds=30)
        )
    connection = await CONNECTIONS[0].post(path, body, {}, SECONDS)

    async def pieces() -> AsyncIterator[bytes]:
        while piece := await connection.read(SECONDS):
            yield piece

    try:
        yield connection.status, connection.headers[b"content-type"], pieces()
    finally:
        CONNECTIONS[0].give_back(connection)


ASK = {"aiohttp": ask_by_aiohttp, "ours": ask_by_ours}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Forward a request, and the answer piece by piece."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    async with ASK[sys.argv[3]](scope["path"], body) as (status, kind, pieces):
        headers = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical", access_log=False,
        loop="uvloop", http="httptools",
    )  # fmt: skip
