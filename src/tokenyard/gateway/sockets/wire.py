"""The sending side of one WebSocket: messages, errors, its end, and for how long it has been stuck.

Decides nothing; several answers send through it side by side.
"""

import asyncio

import msgspec
from starlette.types import Send

from tokenyard.protocol.errors import error_response
from tokenyard.protocol.socket_frames import ResponseEnded, SocketError
from tokenyard.runtime.clock import Clock
from tokenyard.vocabulary.errors import TokenyardError


class Wire:
    """transport: of the connection; None where there is no socket below, as in tests."""

    def __init__(self, send: Send, transport: asyncio.Transport | None, clock: Clock) -> None:
        self._send = send
        self._transport = transport
        self._clock = clock
        self._sending = 0
        self._since = 0.0
        self.closed = False

    def stuck_seconds(self) -> float:
        """For how long nothing that was to be sent could be."""
        return self._clock.monotonic() - self._since if self._sending else 0.0

    async def tell(self, data: bytes) -> None:
        """Send one message; waits while the other side takes nothing. Raises OSError when gone."""
        if not self._sending:
            self._since = self._clock.monotonic()
        self._sending += 1
        try:
            await self._send({"type": "websocket.send", "text": data.decode()})
        finally:
            self._sending -= 1
            self._since = self._clock.monotonic()

    async def refuse(self, error: TokenyardError, stream_id: str | None) -> None:
        """Tell of an error as a request would have been told."""
        status, body, headers = error_response(error)
        told = {**msgspec.to_builtins(body.error), "headers": headers}
        await self.tell(spell(SocketError(status=status, error=told, stream_id=stream_id)))

    async def close(self, code: int, reason: str) -> None:
        """End the connection: with a code and a reason, or at once if nothing can be sent."""
        if self.closed:
            return
        self.closed = True
        if self._sending and self._transport is not None:
            self._transport.abort()
        else:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})


def spell(frame: SocketError | ResponseEnded) -> bytes:
    """A frame of ours that is no event; without `stream_id` when none was given."""
    told = msgspec.to_builtins(frame)
    if told.get("stream_id") is None:
        told.pop("stream_id", None)
    return msgspec.json.encode(told)
