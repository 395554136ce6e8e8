"""A model server that breaks in every way, each call by a seed, and knows what it generated."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

MODEL = "faulty"
PROMPT_TOKENS = 5
WAYS = ("whole", "whole", "stream", "stream", "cut", "half", "garbage", "hang", "refuse", "trickle")


@dataclass
class FaultyServer:
    """One address; `counted` is what it told of each call that it finished, by request id, and
    `asked` are the calls that came."""

    seed: int
    counted: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0

    async def __aenter__(self) -> "FaultyServer":
        self._random = random.Random(self.seed)
        self._ended = asyncio.Event()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._ended.set()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r")[0] or 0)
                body = json.loads(await reader.readexactly(length)) if length else {}
                request_id = head.partition("x-request-id: ")[2].partition("\r")[0]
                if not await self._answer(writer, head, body, request_id):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, writer: asyncio.StreamWriter, head: str, body: dict[str, Any], request_id: str
    ) -> bool:
        if not head.startswith("post /v1/chat"):
            models = {"data": [{"id": MODEL, "object": "model", "max_model_len": 4096}]}
            await self._whole(writer, models)
            return True
        self.asked.append(request_id)
        way, count = self._random.choice(WAYS), self._random.randint(1, 9)
        if way == "refuse":
            await self._whole(writer, {"error": {"message": "busy", "code": "x"}}, 503)
            return True
        if way == "garbage" and not body.get("stream"):
            await self._raw(writer, b"<html>")
            return True
        if not body.get("stream"):
            if way == "hang":
                await self._ended.wait()
            message = {"role": "assistant", "content": "x"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = _usage(count)
            self.counted[request_id] = count
            await self._whole(writer, {"id": "1", "choices": [choice], "usage": usage})
            return True
        return await self._stream(writer, way, count, request_id)

    async def _stream(
        self, writer: asyncio.StreamWriter, way: str, count: int, request_id: str
    ) -> bool:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        )
        role = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        writer.write(f"data: {json.dumps({'id': '1', 'choices': [role]})}\n\n".encode())
        for number in range(count):
            choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": None}
            event = json.dumps({"id": "1", "choices": [choice], "usage": _usage(number + 1)})
            data = f"data: {event}\n\n".encode()
            if number == count // 2 and way in ("cut", "half", "garbage", "hang"):
                if way == "half":
                    writer.write(data[: len(data) // 2])
                if way == "garbage":
                    writer.write(b"data: {{{\n\n")
                if way == "hang":
                    await self._ended.wait()
                await writer.drain()
                return False
            if way == "trickle":
                for place in range(0, len(data), 40):
                    writer.write(data[place : place + 40])
                    await writer.drain()
                    await asyncio.sleep(0.001)
            else:
                writer.write(data)
            self.counted[request_id] = number + 1
        last = {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        writer.write(f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode())
        await writer.drain()
        return False

    async def _whole(self, writer: asyncio.StreamWriter, body: Any, status: int = 200) -> None:
        await self._raw(writer, json.dumps(body).encode(), status)

    async def _raw(self, writer: asyncio.StreamWriter, data: bytes, status: int = 200) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()


def _usage(count: int) -> dict[str, int]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": count,
        "total_tokens": PROMPT_TOKENS + count,
    }
