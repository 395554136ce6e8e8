"""A frame asks the gateway as a request of its own would, with the credentials of the handshake.

Therefore permissions, limits, money, idempotency, the audit log, metrics and errors of a frame are
those of the route, and a key that has expired since the handshake is refused. Knows HTTP only.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Scope

from tokenyard.gateway.handover import HANDOVER, Handed, Handover
from tokenyard.gateway.replays import HEADER as IDEMPOTENCY_KEY
from tokenyard.protocol.socket_frames import ErrorTold

# Where a layer around the gateway puts itself, for inner requests to go through it as well.
INNER_APP = "tokenyard.inner_app"
# Browsers cannot send a header with a handshake; OpenAI's clients put the key there.
SECRET_PROTOCOL = "openai-insecure-api-key."
# What belongs to the handshake and not to what is asked over it.
_OF_HANDSHAKE = {
    b"connection", b"upgrade", b"accept", b"content-type", b"content-length", b"transfer-encoding",
    b"expect", b"last-event-id", IDEMPOTENCY_KEY.encode(),
}  # fmt: skip
_TOLD = ("retry-after", "x-request-id", "x-ratelimit-")


@dataclass(frozen=True, slots=True)
class Told:
    """What came back: a reading, or an answer of its own."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    handed: Handed | None

    @property
    def response(self) -> str | None:
        """Whose events would follow."""
        return self.headers.get("x-response-id") if self.status == 200 else None

    def error(self) -> dict[str, Any]:
        """The error body, with the headers that say when to come back."""
        try:
            error = msgspec.json.decode(self.body, type=ErrorTold).error
        except msgspec.MsgspecError:
            error = {}
        return {**error, "headers": {k: v for k, v in self.headers.items() if k.startswith(_TOLD)}}


class Inner:
    """Requests of one connection."""

    def __init__(self, app: ASGIApp, handshake: Scope) -> None:
        self._app: ASGIApp = handshake.get(INNER_APP, app)
        self._handshake = handshake
        headers = [
            (name, value)
            for name, value in handshake["headers"]
            if name not in _OF_HANDSHAKE and not name.startswith(b"sec-websocket-")
        ]
        for offered in handshake["subprotocols"]:
            if offered.startswith(SECRET_PROTOCOL):
                secret = offered.removeprefix(SECRET_PROTOCOL).encode()
                headers = [one for one in headers if one[0] != b"authorization"]
                headers.append((b"authorization", b"Bearer " + secret))
        self._headers = headers

    def scope(self, method: str, path: str, query: str = "") -> Scope:
        """The scope of a request with the credentials of this connection."""
        outer = self._handshake
        return {
            "type": "http",
            "asgi": outer["asgi"],
            "http_version": "1.1",
            "method": method,
            "scheme": "https" if outer.get("scheme") == "wss" else "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": outer.get("root_path", ""),
            "headers": [*self._headers, (b"content-type", b"application/json")],
            "client": outer.get("client"),
            "server": outer.get("server"),
        }

    async def ask(
        self, method: str, path: str, query: str = "", *, body: bytes = b"", key: str | None = None
    ) -> Told:
        """Ask, and take the reading where there would be a stream of events.

        key: of idempotency. The events of a repeated request are recorded; they are left there, and
        only whose they are is told.
        """
        handover, exchange = Handover(), _Exchange(body)
        scope = self.scope(method, path, query)
        scope["headers"].append((b"content-length", str(len(body)).encode()))
        if key is not None:
            scope["headers"].append((IDEMPOTENCY_KEY.encode(), key.encode()))
        scope[HANDOVER] = handover
        await self._app(scope, exchange.receive, exchange.send)
        return Told(exchange.status, exchange.headers, b"".join(exchange.pieces), handover.handed)


class _Exchange:
    """The two ends of one inner request."""

    def __init__(self, body: bytes) -> None:
        self.status = 500
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self._body: bytes | None = body
        self._left = asyncio.Event()

    async def receive(self) -> Message:
        """The body, then nothing until the events begin, which nobody wants here."""
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Keep the answer; leave when it is a stream."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            if self.headers.get("content-type", "").startswith("text/event-stream"):
                self._left.set()
        elif not self._left.is_set():
            self.pieces.append(message.get("body", b""))
