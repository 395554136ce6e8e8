"""The answers of one `stream_id`, one after the other: asked for or resumed, and sent as they come.

A lane is a reader like any other: a cursor on the log, never a queue. Where acks were agreed it
sends no further than the window; when it may go on again after it fell far behind, it goes on with
a picture of the whole (`response.resync`) in place of every piece that was missed.
"""

import asyncio
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec

from tokenyard.chat.reading import Reading, Readings
from tokenyard.chat.rules.stream_log import LoggedEvent
from tokenyard.gateway.rules.unacked import Unacked
from tokenyard.gateway.sockets.inner import Inner, Told
from tokenyard.gateway.sockets.wire import Wire, spell
from tokenyard.protocol.socket_frames import (
    AckFrame,
    CreateOrder,
    ResponseEnded,
    ResponseResumeFrame,
    SocketError,
)
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.socket_settings import SocketSettings
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.ids import ResponseId

PATH = "/v1/responses"
Job = CreateOrder | ResponseResumeFrame


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What the lanes of a connection stand on."""

    inner: Inner
    wire: Wire
    readings: Readings
    settings: SocketSettings
    clock: Clock
    metrics: GatewayMetrics


class Lane:
    """One of a connection."""

    def __init__(self, parts: LaneParts, stream_id: str | None) -> None:
        self.jobs: deque[Job] = deque()
        self._parts = parts
        self._stream_id = stream_id
        self._prefix = (
            b"" if stream_id is None else b'{"stream_id":' + msgspec.json.encode(stream_id) + b","
        )
        self._response: ResponseId | None = None
        self._window: Unacked | None = None
        self._more = asyncio.Event()

    @property
    def unacked_since(self) -> float | None:
        """When the oldest event was sent that should have had an ack."""
        return None if self._window is None else self._window.since

    async def run(self) -> None:
        """Serve what waits, until nothing does or the other side is gone."""
        while self.jobs:
            try:
                await self._serve(self.jobs[0])
            except TokenyardError as error:
                await self._parts.wire.refuse(error, self._stream_id)
            self.jobs.popleft()

    def take(self, ack: AckFrame) -> bool | None:
        """Note an ack; None when it is about another answer, False when it is beyond what was sent.

        An answer without a window needs none, and one that has ended may still get some.
        """
        if self._response != ack.response_id:
            return None
        if self._window is None:
            return True
        taken = self._window.take(ack.sequence_number)
        self._more.set()
        return taken

    async def _serve(self, job: Job) -> None:
        inner = self._parts.inner
        if isinstance(job, CreateOrder):
            told = await inner.ask("POST", PATH, body=job.body, key=job.idempotency_key)
            if told.handed is None and told.response is not None:
                told = await inner.ask("GET", f"{PATH}/{told.response}", "stream=true")
        else:
            told = await self._resume(job)
        if told.handed is not None:
            await self._follow(told, acks=job.acks)
        elif told.status == 204 and isinstance(job, ResponseResumeFrame):
            ended = ResponseEnded(response_id=job.response_id, stream_id=self._stream_id)
            await self._parts.wire.tell(spell(ended))
        else:
            error = SocketError(status=told.status, error=told.error(), stream_id=self._stream_id)
            await self._parts.wire.tell(spell(error))

    async def _resume(self, job: ResponseResumeFrame) -> Told:
        query = {"stream": "true", "snapshot": "true" if job.snapshot else "false"}
        if job.starting_after is not None:
            query["starting_after"] = str(job.starting_after)
        # The id is the client's and could hold anything; quoted it is one part of a path.
        return await self._parts.inner.ask(
            "GET", f"{PATH}/{job.response_id.replace('/', '_')}", urlencode(query)
        )

    async def _follow(self, told: Told, *, acks: bool) -> None:
        handed, settings = told.handed, self._parts.settings
        assert handed is not None
        if acks:
            self._window = Unacked(settings.unacked_events_max, settings.unacked_bytes_max)
        self._response = handed.response
        self._parts.metrics.stream_readers.inc()
        reading = handed.reading
        try:
            while not await self._push(reading):
                reading = await self._parts.readings.resync_reader(handed.caller, handed.response)
        finally:
            self._parts.metrics.stream_readers.dec()
            self._response = self._window = None

    async def _push(self, reading: Reading) -> bool:
        """Send what there is and what comes; False when the reader has to start anew."""
        window = self._window
        async with aclosing(reading.batches()) as batches:
            async for batch in batches:
                for event in batch:
                    if window is not None and window.full:
                        await self._wait_for_room(window)
                        if reading.waiting(event.sequence) > window.events_max:
                            return False
                    await self._send(event)
        return not reading.lost

    async def _wait_for_room(self, window: Unacked) -> None:
        while window.full:
            self._more.clear()
            await self._more.wait()

    async def _send(self, event: LoggedEvent) -> None:
        data = self._prefix + event.data[1:] if self._prefix else event.data
        if self._window is not None:
            # Before it is sent: its ack may be here before the sending is over.
            self._window.push(event.sequence, len(data), self._parts.clock.monotonic())
        await self._parts.wire.tell(data)
