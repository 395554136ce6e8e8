"""The least that a gateway on our stack can do: `python raw_pass_through.py PORT UPSTREAM_PORT`.

uvicorn in front, aiohttp behind, bytes between; no keys, limits, ledger, metrics or parsing. What
our gateway costs more than this is what it does more.
"""

import sys
from typing import Any

import aiohttp
import uvicorn

SESSION: list[aiohttp.ClientSession] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Forward a request, and the answer piece by piece."""
    if scope["type"] != "http":
        return
    if not SESSION:
        SESSION.append(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        )  # fmt: skip
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    url = f"http://127.0.0.1:{sys.argv[2]}{scope['path']}"
    headers = {"content-type": "application/json"}
    async with SESSION[0].request(scope["method"], url, data=body, headers=headers) as answer:
        kind = answer.headers["content-type"].encode()
        await send(
            {
                "type": "http.response.start", "status": answer.status,
                "headers": [(b"content-type", kind)],
            }
        )  # fmt: skip
        async for piece in answer.content.iter_any():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical", access_log=False,
        loop="uvloop", http="httptools",
    )  # fmt: skip
