"""A WebSocket to an ASGI application, without a socket: what it says, and what it is told."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message

from support.asgi import HOST

PATH = "/v1/responses"


class SocketCall:
    """One connection in progress. What the server sends is not taken while `frozen`."""

    def __init__(
        self,
        app: ASGIApp,
        headers: Mapping[str, str] | None = None,
        *,
        path: str = PATH,
        subprotocols: Iterable[str] = (),
    ) -> None:
        told = {"host": HOST, "upgrade": "websocket", "connection": "upgrade", **(headers or {})}
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in told.items()],
            "client": ("127.0.0.1", 1),
            "server": (HOST, 80),
            "subprotocols": list(subprotocols),
        }
        self.accepted: Message | None = None
        # The status and the body of a handshake that was denied.
        self.denied: tuple[int, Any] | None = None
        self.texts: list[str] = []
        self.closed: tuple[int, str] | None = None
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        self._open = asyncio.Event()
        self._open.set()
        self._changed = asyncio.Event()
        self._task = asyncio.ensure_future(app(scope, self._inbox.get, self._send))

    @property
    def frames(self) -> list[Any]:
        return [json.loads(text) for text in self.texts]

    def of(self, stream_id: str | None) -> list[Any]:
        """Frames of one stream."""
        return [frame for frame in self.frames if frame.get("stream_id") == stream_id]

    def say(self, frame: Any = None, *, text: str | None = None, data: bytes | None = None) -> None:
        """Send a frame, or a text or bytes as they are."""
        message: Message = {"type": "websocket.receive"}
        if data is not None:
            message["bytes"] = data
        else:
            message["text"] = json.dumps(frame) if text is None else text
        self._inbox.put_nowait(message)

    async def until(self, seen: Callable[["SocketCall"], bool]) -> "SocketCall":
        """Wait until it looks like that; fails when the server is done before."""
        while not seen(self):
            if self._task.done():
                await self._task
                assert seen(self), (self.texts, self.closed)
                return self
            self._changed.clear()
            waiting = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait({self._task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        return self

    async def received(self, count: int) -> None:
        """Wait for that many frames."""
        await self.until(lambda _: len(self.texts) >= count)

    async def frame(self, kind: str, stream_id: str | None = None) -> Any:
        """The first frame of that type in that stream, when it is there."""

        def found() -> list[Any]:
            return [one for one in self.of(stream_id) if one["type"] == kind]

        await self.until(lambda _: bool(found()))
        return found()[0]

    def freeze(self) -> None:
        """Take nothing more."""
        self._open.clear()

    async def leave(self) -> None:
        """Go away without a word and wait until the server is done."""
        self._open.set()
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1005})
        await self._task

    async def ended(self) -> tuple[int, str]:
        """The code and reason with which the server closed it."""
        await self._task
        assert self.closed is not None
        return self.closed

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case "websocket.accept":
                self.accepted = message
            case "websocket.send":
                await self._open.wait()
                self.texts.append(message["text"])
            case "websocket.close":
                self.closed = (message["code"], message["reason"])
                self._inbox.put_nowait({"type": "websocket.disconnect", "code": message["code"]})
            case "websocket.http.response.start":
                self.denied = (message["status"], None)
            case "websocket.http.response.body":
                assert self.denied is not None
                self.denied = (self.denied[0], json.loads(message["body"]))
        self._changed.set()
