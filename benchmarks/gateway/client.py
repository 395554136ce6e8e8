"""The load: `python client.py '<json>'` sends requests and prints what it saw as JSON.

Raw asyncio with httptools, one connection for each worker. Modes: `whole` (closed loop), `rate`
(one request at a time, at a pace), `stream` (all at once, every chunk's lag).
"""

import asyncio
import json
import sys
import time
from typing import Any

import httptools
import uvloop


class Call(asyncio.Protocol):
    """A connection that makes one request at a time."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] | None = None
        self.lags: list[float] = []
        self.status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(ConnectionError("the connection was closed"))

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_status(self, status: bytes) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        now = time.time()
        for part in body.split(b'"content":"')[1:]:
            self._note(part, now)
        for part in body.split(b'"content": "')[1:]:
            self._note(part, now)

    def _note(self, part: bytes, now: float) -> None:
        sent = part.split(b" ", 1)[0]
        if b"." in sent:
            self.lags.append(now - float(sent))

    def on_message_complete(self) -> None:
        self._finish(None)

    async def ask(self, request: bytes) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.parser = httptools.HttpResponseParser(self)
        self.transport.write(request)
        await self.done
        if self.status != 200:
            raise RuntimeError(f"status {self.status}")

    def _finish(self, error: Exception | None) -> None:
        if self.done is not None and not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)


def spell(job: dict[str, Any]) -> bytes:
    """The request as bytes."""
    body = {
        "model": job.get("model", "fake"),
        "messages": [{"role": "user", "content": "Tell me a story of a few words, please. " * 4}],
        "max_tokens": job.get("chunks", 100),
    }
    if job["mode"] == "stream":
        body |= {"stream": True, "user": str(job["pause"])}
    data = json.dumps(body).encode()
    key = f"authorization: Bearer {job['key']}\r\n" if job.get("key") else ""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{job['port']}\r\n{key}"
        f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def connect(port: int) -> Call:
    _, call = await asyncio.get_running_loop().create_connection(Call, "127.0.0.1", port)
    return call


async def run_whole(job: dict[str, Any], request: bytes) -> dict[str, Any]:
    took: list[float] = []
    ends = time.perf_counter() + job["seconds"]

    async def work() -> None:
        call = await connect(job["port"])
        while time.perf_counter() < ends:
            began = time.perf_counter()
            await call.ask(request)
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(job["workers"])))
    return {"seconds": time.perf_counter() - began, "requests": len(took), **quantiles(took)}


async def run_rate(job: dict[str, Any], request: bytes) -> dict[str, Any]:
    call, took = await connect(job["port"]), []
    for _ in range(job["requests"]):
        began = time.perf_counter()
        await call.ask(request)
        took.append(time.perf_counter() - began)
        await asyncio.sleep(job["pause"])
    return {"requests": len(took), **quantiles(took)}


async def run_stream(job: dict[str, Any], request: bytes) -> dict[str, Any]:
    calls = [await connect(job["port"]) for _ in range(job["workers"])]

    async def work(number: int, call: Call) -> None:
        # Spread over one pause, as callers are.
        await asyncio.sleep(job["pause"] * number / job["workers"])
        await call.ask(request)

    began = time.perf_counter()
    outcomes = await asyncio.gather(
        *(work(number, call) for number, call in enumerate(calls)), return_exceptions=True
    )
    lags = [lag for call in calls for lag in call.lags]
    failed = [repr(one) for one in outcomes if isinstance(one, BaseException)]
    return {
        "seconds": time.perf_counter() - began,
        "chunks": len(lags),
        "failed": len(failed),
        "first_failure": failed[0] if failed else None,
        **quantiles(lags),
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(values) or [0.0]
    return {
        name: round(1000 * ordered[min(int(len(ordered) * share), len(ordered) - 1)], 3)
        for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99))
    }


async def main() -> None:
    job = json.loads(sys.argv[1])
    request = spell(job)
    run = {"whole": run_whole, "rate": run_rate, "stream": run_stream}[job["mode"]]
    sys.stdout.write(json.dumps(await run(job, request)))


if __name__ == "__main__":
    uvloop.run(main())
