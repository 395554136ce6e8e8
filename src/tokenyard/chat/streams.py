"""Live streams: one log per response, any number of readers, none of which can slow the writer.

A reader is a cursor, never a queue: it takes what the log holds and sleeps until there is more.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from tokenyard.chat.rules.stream_log import LoggedEvent, StreamLog
from tokenyard.protocol.response_events import ResponseEvent, event_type
from tokenyard.runtime.clock import Clock
from tokenyard.vocabulary.ids import ResponseId

_EPOCH = 1
_BATCH_EVENTS_MAX = 500


class LiveStream:
    """The log of one response and those who wait for its next event."""

    def __init__(self, response: ResponseId, events_max: int) -> None:
        self.response = response
        self.epoch = _EPOCH
        self.log = StreamLog(events_max)
        self._encoder = msgspec.json.Encoder()
        self._sleepers: set[asyncio.Future[None]] = set()

    def append(self, event: ResponseEvent, *, final: bool = False) -> None:
        """Number, encode and keep an event, then wake every reader; raises LogClosed or LogFull."""
        event.sequence_number = self.log.next_sequence
        self.log.append(event_type(event), self._encoder.encode(event), final=final)
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)
        self._sleepers.clear()

    async def read(self, start: int) -> AsyncIterator[Sequence[LoggedEvent]]:
        """Batches of events from number `start` on; ends after the final event."""
        cursor = start
        while True:
            batch = self.log.read(cursor, _BATCH_EVENTS_MAX)
            if batch:
                cursor += len(batch)
                yield batch
            elif self.log.closed:
                return
            else:
                await self._sleep()

    async def closed(self) -> None:
        """Wait for the final event."""
        async for _ in self.read(self.log.next_sequence):
            continue

    async def _sleep(self) -> None:
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            self._sleepers.discard(sleeper)


class StreamRegistry:
    """Every stream that can be read in this process: the running and the lately ended ones."""

    def __init__(self, clock: Clock, *, kept_seconds: float, events_max: int) -> None:
        self._clock = clock
        self._kept_seconds = kept_seconds
        self._events_max = events_max
        self._streams: dict[ResponseId, LiveStream] = {}
        # Ended streams and when to forget them, in order of their end.
        self._ended: dict[ResponseId, float] = {}

    def open(self, response: ResponseId) -> LiveStream:
        """A new stream; also forgets those whose time is over."""
        self._forget_old()
        stream = LiveStream(response, self._events_max)
        self._streams[response] = stream
        return stream

    def find(self, response: ResponseId) -> LiveStream | None:
        """The stream, or None when it was never here or has been forgotten."""
        self._forget_old()
        return self._streams.get(response)

    def ended(self, response: ResponseId) -> None:
        """Start the time after which the stream is forgotten."""
        self._ended[response] = self._clock.monotonic() + self._kept_seconds

    def forget(self, response: ResponseId) -> None:
        """Let go of a stream whose response was deleted; who reads it reads on to its end."""
        self._streams.pop(response, None)

    def _forget_old(self) -> None:
        now = self._clock.monotonic()
        while self._ended:
            response, forget_at = next(iter(self._ended.items()))
            if forget_at > now:
                return
            del self._ended[response]
            self._streams.pop(response, None)
