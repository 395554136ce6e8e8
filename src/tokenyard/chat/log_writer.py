"""The writing end of logs: what all producers of this process write goes to the store together.

Decides when events are sent to the store, and that nobody sees one before the store has it. While
one append is on its way the next events gather, so that the more there are the cheaper each
becomes, and a lone event waits for nobody. Does not know what an event means.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from tokenyard.chat.log_ports import Behind, LogStore, Outcome
from tokenyard.chat.rules.merging import Pace, choose_window
from tokenyard.chat.rules.stream_log import Chunk
from tokenyard.chat.streams import LiveStream, log_event
from tokenyard.protocol.response_events import (
    ItemDelta,
    ResponseEvent,
    ResponseReset,
    event_type,
)
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import GatewayMetrics
from tokenyard.vocabulary.errors import TokenyardError
from tokenyard.vocabulary.ids import ResponseId

_RETRY_SECONDS = 0.2
# Before an append to a store across a network: nobody sees it, and appends of several answers
# become one, each of which costs more than all that is in it.
_GATHER_SECONDS = 0.002


class LogFull(Exception):
    """The log holds as many events as it may; room is left for the closing ones."""


class Fenced(Exception):
    """Somebody else writes this log now, or it is closed: nothing of ours can be added."""


class Pen:
    """The right to write one log under one epoch, until somebody fences it."""

    def __init__(
        self, writer: "LogWriter", stream: LiveStream, *, epoch: int, events_max: int
    ) -> None:
        self.stream = stream
        self.epoch = epoch
        self.fenced = asyncio.Event()
        self._writer = writer
        self._events_max = events_max
        self._following = stream.ring.following
        self._pending: list[ResponseEvent] = []
        self._tokens: list[int] | None = []
        # When the oldest pending event came.
        self.waiting_since = 0.0
        # On its way to the store; sent again as it is until the store has answered.
        self._unsent: Chunk | None = None
        self._settled: asyncio.Future[None] | None = None

    def holds(self, count: int) -> bool:
        """Whether there is room for so many more events."""
        return self._following + len(self._pending) + count <= self._events_max

    def write(self, event: ResponseEvent, tokens: Sequence[int] | None = ()) -> None:
        """Add an event. tokens: those whose text it holds, None if unknown.

        Raises LogFull or Fenced.
        """
        if self.fenced.is_set():
            raise Fenced
        if not self.holds(1):
            raise LogFull
        if not self._pending:
            self.waiting_since = self._writer.now()
        if isinstance(event, ResponseReset):
            self._tokens = []
        if tokens is None or self._tokens is None:
            self._tokens = None
        else:
            self._tokens.extend(tokens)
        self._writer.pace.pieces += 1
        if not self._merge(event):
            self._pending.append(event)
        self._writer.wake(self)

    def note(self, tokens: Sequence[int]) -> None:
        """Tokens without text of their own yet: they belong to what is written next."""
        if self._tokens is not None:
            self._tokens.extend(tokens)

    async def flush(self) -> None:
        """Wait until the store has all that was written; raises Fenced."""
        if (self._pending or self._unsent is not None) and not self.fenced.is_set():
            self._settled = asyncio.get_running_loop().create_future()
            await self._settled
        if self.fenced.is_set():
            raise Fenced

    def close(self, events: Sequence[ResponseEvent]) -> Chunk:
        """The last chunk, numbered; to be stored with the end, and then to be shown.

        All that was written before must have been flushed.
        """
        return self._number(events, (), final=True)

    def show(self, ending: Chunk) -> None:
        """The end is true: readers hear of it, and the log gets it if it is kept elsewhere."""
        self.stream.publish(ending)
        if self._writer.apart:
            self._unsent = ending
            self._writer.wake(self)

    def take(self) -> Chunk | None:
        """What is to be sent now."""
        if self._unsent is None and self._pending:
            tokens = None if self._tokens is None else tuple(self._tokens)
            self._unsent = self._number(self._pending, tokens)
            self._following = self._unsent.following
            self._pending, self._tokens = [], []
        return self._unsent

    def kept(self, chunk: Chunk) -> None:
        """The store has it: readers may see it."""
        self.stream.publish(chunk)
        self._unsent = None
        if self._pending:
            self._writer.wake(self)
        else:
            self._settle()

    def refill(self, behind: Behind, chunk: Chunk) -> None:
        """The store lost events that are still here: send them again, with the chunk."""
        ring = self.stream.ring
        if behind.following < ring.first:
            self.fence()
            return
        lost = tuple(ring.read(behind.following, ring.following - behind.following))
        # Which of the tokens were lost with them is not known.
        self._unsent = Chunk(chunk.response, chunk.epoch, lost + chunk.events, None, chunk.final)
        self._writer.wake(self)

    def fence(self) -> None:
        """Nothing more can be written."""
        self._pending = []
        self._unsent = None
        self.fenced.set()
        self._settle()

    def _settle(self) -> None:
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    def _merge(self, event: ResponseEvent) -> bool:
        """Whether the event became part of the one before it."""
        if not self._writer.window_seconds or not self._pending:
            return False
        last = self._pending[-1]
        if not isinstance(event, ItemDelta) or not isinstance(last, ItemDelta):
            return False
        # An item has deltas of one kind.
        if last.item_id != event.item_id:
            return False
        last.delta += event.delta
        self._writer.metrics.merged_deltas.inc()
        return True

    def _number(
        self,
        events: Sequence[ResponseEvent],
        tokens: tuple[int, ...] | None,
        *,
        final: bool = False,
    ) -> Chunk:
        response, numbered = self.stream.response, []
        for sequence, event in enumerate(events, start=self._following):
            event.sequence_number = sequence
            data = self._writer.encode(event)
            numbered.append(log_event(response, self.epoch, sequence, event_type(event), data))
        return Chunk(response, self.epoch, tuple(numbered), tokens, final)


class LogWriter:
    """All pens of one process over one store."""

    def __init__(
        self,
        store: LogStore,
        *,
        tasks: TaskSupervisor,
        clock: Clock,
        metrics: GatewayMetrics,
        log: Log,
        events_max: int,
    ) -> None:
        self.metrics = metrics
        self.window_seconds = 0.0
        self.pace = Pace()
        self.encode = msgspec.json.Encoder().encode
        self.now = clock.monotonic
        self.apart = store.apart
        self._store = store
        self._tasks = tasks
        self._clock = clock
        self._log = log
        self._events_max = events_max
        self._dirty: dict[ResponseId, Pen] = {}
        self._writing: asyncio.Task[None] | None = None
        # What the writing task waits for while there is nothing to send.
        self._idle: asyncio.Future[None] | None = None

    def pen(self, stream: LiveStream, *, epoch: int) -> Pen:
        """The right to write on where the stream is now."""
        return Pen(self, stream, epoch=epoch, events_max=self._events_max)

    def wake(self, pen: Pen) -> None:
        """A pen has something to send."""
        self._dirty[pen.stream.response] = pen
        if self._writing is None or self._writing.done():
            self._writing = self._tasks.spawn("chat.log", self._write())
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _write(self) -> None:
        """Send what is written, for ever; a task for each piece would cost more than the piece."""
        while True:
            await self._write_all()
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    async def _write_all(self) -> None:
        while self._dirty:
            wait = self.window_seconds or (_GATHER_SECONDS if self.apart else 0.0)
            if wait:
                await self._clock.sleep(wait)
            pens, self._dirty = self._dirty, {}
            oldest = min(pen.waiting_since for pen in pens.values())
            if not await self._append(pens):
                await self._clock.sleep(_RETRY_SECONDS)
            now = self.now()
            lag, pace = now - oldest - self.window_seconds, self.pace.look(pens, now)
            self.window_seconds = choose_window(self.window_seconds, lag, pace)
            self.metrics.merge_window.set(self.window_seconds)

    async def _append(self, pens: dict[ResponseId, Pen]) -> bool:
        """Send what the pens hold; False when the store could not be reached."""
        sent = [(pen, chunk) for pen in pens.values() if (chunk := pen.take()) is not None]
        if not sent:
            return True
        try:
            outcomes = await self._store.append([chunk for _, chunk in sent])
        except TokenyardError as error:
            self._log.warning(Event.STREAM_APPEND_FAILED, reason=error.reason)
            for pen, _ in sent:
                self._dirty.setdefault(pen.stream.response, pen)
            return False
        for (pen, chunk), outcome in zip(sent, outcomes, strict=True):
            match outcome:
                case Outcome.KEPT:
                    pen.kept(chunk)
                case Outcome.FENCED:
                    pen.fence()
                case Behind():
                    pen.refill(outcome, chunk)
        self.metrics.stream_events.inc(sum(len(chunk.events) for _, chunk in sent))
        return True
