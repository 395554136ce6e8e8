"""Streams as readers see them: one log, any number of readers, none of which slows the writer.

A reader is a cursor, never a queue: it takes what is there and sleeps until there is more. The
newest events are held here, each encoded once for all readers; older ones come from the store, in
batches. A log that another process writes is followed, once for all of its readers here.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from tokenyard.chat.log_ports import LogStore
from tokenyard.chat.rules.resume import spell_event_id
from tokenyard.chat.rules.stream_log import Chunk, LogGap, LoggedEvent, Ring
from tokenyard.protocol.chat_completions import PromptProgress
from tokenyard.protocol.sse import frame
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.ids import ResponseId

_BATCH_EVENTS_MAX = 500
_BATCH_CHUNKS_MAX = 200
_RETRY_SECONDS = 0.5
# How often in the time for which logs are kept those whose time is over are looked for.
_SWEEPS = 10


def log_event(
    response: ResponseId, epoch: int, sequence: int, kind: str, data: bytes
) -> LoggedEvent:
    """An event as it is kept and sent."""
    framed = frame(data, event=kind, id=spell_event_id(response, epoch, sequence))
    return LoggedEvent(sequence, epoch, kind, data, framed)


class LiveStream:
    """One log in this process, and those who wait for its next event."""

    def __init__(
        self,
        response: ResponseId,
        store: LogStore,
        ring: Ring,
        epoch: int,
        want: Callable[["LiveStream"], None],
    ) -> None:
        self.response = response
        self.ring = ring
        # Of the newest producer that was heard of.
        self.epoch = epoch
        # True when the log in the store lost what comes next: readers must start anew.
        self.lost = False
        # False while another process writes it.
        self.local = True
        self.readers = 0
        # Whether the answer waits for its first words here, and how far the prompt has been read.
        self.waits = False
        self.progress: PromptProgress | None = None
        self._store = store
        # Asks for more of a log that another process writes.
        self._want = want
        self._sleepers: set[asyncio.Future[None]] = set()

    @property
    def closed(self) -> bool:
        """Whether nothing will follow on what is here."""
        return self.ring.closed or self.lost

    def reading(self, progress: PromptProgress) -> None:
        """The model server reads the prompt: told to who asks, and never logged."""
        self.progress = progress

    def publish(self, chunk: Chunk) -> None:
        """Show what the store has kept; events that were shown already do no harm."""
        if chunk.epoch > self.epoch and chunk.first < self.ring.following:
            # What was shown already was lost, and has been written anew.
            self.lose()
            return
        try:
            self.ring.extend(chunk.events, final=chunk.final)
        except LogGap:
            self.lost = True
        self.epoch = max(self.epoch, chunk.epoch)
        self.ring.trim()
        self._wake()

    def lose(self) -> None:
        """Nothing more will come: whoever reads has to start anew."""
        self.lost = True
        self._wake()

    async def read(self, start: int) -> AsyncGenerator[Sequence[LoggedEvent], None]:
        """Batches of events from number `start` on; ends after the final event, or when lost.

        Raises Unavailable when older events cannot be read.
        """
        cursor = start
        self.readers += 1
        try:
            while True:
                if cursor < self.ring.first:
                    batch = await self._load(cursor)
                    if not batch:
                        return
                else:
                    batch = self.ring.read(cursor, _BATCH_EVENTS_MAX)
                if batch:
                    cursor += len(batch)
                    for place in range(0, len(batch), _BATCH_EVENTS_MAX):
                        yield batch[place : place + _BATCH_EVENTS_MAX]
                elif self._ends():
                    return
                else:
                    sleeper = asyncio.get_running_loop().create_future()
                    self._sleepers.add(sleeper)
                    try:
                        await sleeper
                    finally:
                        self._sleepers.discard(sleeper)
        finally:
            self.readers -= 1

    async def ended(self) -> None:
        """Wait for the final event."""
        async for _ in self.read(self.ring.following):
            continue

    async def load(self, start: int, chunks_max: int = _BATCH_CHUNKS_MAX) -> Sequence[Chunk]:
        """What the store holds from event `start` on."""
        return await self._store.read(self.response, start, chunks_max)

    async def _load(self, cursor: int) -> Sequence[LoggedEvent]:
        events = [event for chunk in await self.load(cursor) for event in chunk.events]
        events = [event for event in events if event.sequence >= cursor]
        if not events or events[0].sequence != cursor:
            self.lose()
            return ()
        return events

    def _ends(self) -> bool:
        """Whether a reader that has all that is here is done; if not, more is asked for."""
        if not self.closed and not self.local:
            self._want(self)
        return self.closed

    def _wake(self) -> None:
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)
        self._sleepers.clear()


class StreamRegistry:
    """Every stream that is written or read in this process."""

    def __init__(
        self,
        store: LogStore,
        settings: ChatSettings,
        *,
        tasks: TaskSupervisor,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._events_max = settings.ring_events_max
        self._kept_seconds = settings.streams_kept_seconds
        self._tasks = tasks
        self._clock = clock
        self._log = log
        self._streams: dict[ResponseId, LiveStream] = {}
        self._swept_at = clock.now()
        self._following: asyncio.Task[None] | None = None

    def open(self, response: ResponseId, *, epoch: int, following: int = 0) -> LiveStream:
        """The stream that this process writes from event `following` on."""
        stream = self._streams.get(response)
        if stream is None or stream.closed or stream.ring.following != following:
            if stream is not None:
                stream.lose()
            stream = self._make(response, following, epoch)
        stream.local = True
        stream.epoch = epoch
        return stream

    def find(self, response: ResponseId) -> LiveStream | None:
        """The stream, when it is written or read here."""
        return self._streams.get(response)

    def follow(self, response: ResponseId, *, epoch: int, following: int) -> LiveStream:
        """The stream, read from event `following` on if it is not here already.

        It is let go of when nobody reads it any more.
        """
        stream = self._streams.get(response)
        if stream is None or stream.lost:
            stream = self._make(response, following, epoch)
            stream.local = False
        self._keep_following()
        return stream

    def hand_over(self, stream: LiveStream) -> None:
        """This process writes it no more; who reads it here goes on."""
        stream.local = False
        self._keep_following()

    async def ended(self, response: ResponseId) -> None:
        """Let go of a stream that this process wrote; its log stays readable for a while."""
        stream = self._streams.pop(response, None)
        if stream is not None and not stream.closed:
            stream.lose()
        now = self._clock.now()
        if now - self._swept_at >= self._kept_seconds / _SWEEPS:
            self._swept_at = now
            await self._store.sweep(now - self._kept_seconds)

    def is_kept(self, finished_at: float | None) -> bool:
        """Whether the log of a response that ended at that time is still to be read."""
        return finished_at is None or self._clock.now() - finished_at <= self._kept_seconds

    async def forget(self, response: ResponseId) -> None:
        """Remove the log of a response that was deleted; who reads it reads on to its end."""
        self._streams.pop(response, None)
        await self._store.forget([response])

    def _make(self, response: ResponseId, following: int, epoch: int) -> LiveStream:
        ring = Ring(self._events_max, first=following)
        stream = LiveStream(response, self._store, ring, epoch, self._follow_for)
        self._streams[response] = stream
        return stream

    def _follow_for(self, stream: LiveStream) -> None:
        """A reader waits for what another process writes."""
        if self._streams.setdefault(stream.response, stream) is not stream:
            # Another one took its place while nobody read it.
            stream.lose()
        self._keep_following()

    def _keep_following(self) -> None:
        if self._following is None or self._following.done():
            self._following = self._tasks.spawn("chat.follow", self._follow())

    async def _follow(self) -> None:
        """Read on in all logs that others write, with one reader for all of them."""
        while followed := self._followed():
            cursors = {stream.response: stream.ring.following for stream in followed}
            try:
                found = await self._store.wait(cursors)
            except TokenyardError as error:
                self._log.warning(Event.STREAM_FOLLOW_FAILED, reason=error.reason)
                await self._clock.sleep(_RETRY_SECONDS)
                continue
            if not any(found.values()):
                await self._clock.sleep(self._store.poll_seconds)
            for response, chunks in found.items():
                stream = self._streams.get(response)
                if stream is not None and not stream.local:
                    for chunk in chunks:
                        stream.publish(chunk)

    def _followed(self) -> list[LiveStream]:
        """Streams that others write and somebody reads; the rest of those is let go."""
        followed = []
        for stream in [one for one in self._streams.values() if not one.local]:
            if stream.closed or not stream.readers:
                del self._streams[stream.response]
            else:
                followed.append(stream)
        return followed
