"""Calls an ASGI application directly: no socket, no threads, and a disconnect at will."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from starlette.types import ASGIApp, Message

from tokenyard.protocol.sse import SseEvent, SseParser

HOST = "yard.test"


@dataclass(slots=True)
class Answer:
    """What came back so far."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    finished: bool = False
    # All that it sets; of headers with one name the mapping above has the last.
    cookies: list[str] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json()["error"]

    def events(self) -> list[SseEvent]:
        return SseParser().feed(self.body)

    def data(self) -> list[Any]:
        """The events' JSON, without [DONE]."""
        return [json.loads(event.data) for event in self.events() if event.data != b"[DONE]"]


class AsgiClient:
    """A client with default headers."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str] | None = None) -> None:
        self._app = app
        self._headers = {"host": HOST, **(headers or {})}

    async def call(
        self,
        method: str,
        target: str,
        *,
        json_body: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The whole answer."""
        call = self.open(method, target, json_body=json_body, body=body, headers=headers)
        return await call.finish()

    def open(
        self,
        method: str,
        target: str,
        *,
        json_body: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        body_ends: bool = True,
    ) -> "OpenCall":
        """Start a call that can be watched, and left, half-way; its body may never end."""
        path, _, query = target.partition("?")
        if json_body is not None:
            body = json.dumps(json_body).encode()
        told = {**self._headers, **(headers or {})}
        if body is not None:
            told.setdefault("content-length", str(len(body)))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in told.items()],
            "client": ("127.0.0.1", 1),
            "server": (HOST, 80),
        }
        return OpenCall(self._app, scope, body or b"", body_ends)


class OpenCall:
    """One call in progress."""

    def __init__(
        self, app: ASGIApp, scope: dict[str, Any], body: bytes, body_ends: bool = True
    ) -> None:
        self.answer = Answer()
        self._body = body
        self._body_ends = body_ends
        self._sent_body = False
        self._gone = asyncio.Event()
        self._changed = asyncio.Event()
        self._task = asyncio.ensure_future(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        await app(scope, self._receive, self._send)

    async def finish(self) -> Answer:
        """Wait for the end."""
        await self._task
        return self.answer

    async def until(self, seen: Callable[[Answer], bool]) -> Answer:
        """Wait until the answer looks like that; fails when it ends before."""
        while not seen(self.answer):
            if self._task.done():
                await self._task
                assert seen(self.answer), self.answer
                return self.answer
            self._changed.clear()
            waits: list[Awaitable[Any]] = [self._task, self._changed.wait()]
            pending = [asyncio.ensure_future(wait) for wait in waits]
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            pending[1].cancel()
        return self.answer

    async def leave(self) -> Answer:
        """Close the connection and wait until the server is done with it."""
        self._gone.set()
        await self._task
        return self.answer

    async def _receive(self) -> Message:
        if not self._sent_body:
            self._sent_body = True
            return {"type": "http.request", "body": self._body, "more_body": not self._body_ends}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.answer.status = message["status"]
            self.answer.headers = {
                name.decode(): value.decode() for name, value in message["headers"]
            }
            self.answer.cookies = [
                value.decode() for name, value in message["headers"] if name == b"set-cookie"
            ]
        else:
            self.answer.body += message.get("body", b"")
            self.answer.finished = not message.get("more_body", False)
        self._changed.set()
