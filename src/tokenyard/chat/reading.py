"""A reader comes (back) to a response: where it goes on, and what it gets instead if it cannot.

Knows the response, its log and who may read it; does not know connections.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

import msgspec

from tokenyard.chat.log_ports import LogStore, Production, ProductionStore
from tokenyard.chat.ports import ChatStore
from tokenyard.chat.progress import Progress, read_progress
from tokenyard.chat.records import Response, ResponseStatus
from tokenyard.chat.rendering import render_response
from tokenyard.chat.rules.resume import (
    Cursor,
    Ended,
    LogState,
    ReadFrom,
    Resync,
    decide,
)
from tokenyard.chat.rules.stream_log import Chunk, LoggedEvent
from tokenyard.chat.streams import LiveStream, StreamRegistry, log_event
from tokenyard.chat.transcript import begin_answer, chain_items
from tokenyard.protocol.response_events import ResponseResync, event_type
from tokenyard.vocabulary.errors import NotFound
from tokenyard.vocabulary.identity import Principal
from tokenyard.vocabulary.ids import ResponseId

_READ_CHUNKS = 500


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader gets: perhaps a picture first, then the stream from a place on, if it is there.

    stream: None when nothing follows the picture, or when there is nothing to come at all.
    """

    stream: LiveStream | None
    start: int = 0
    picture: LoggedEvent | None = None

    @property
    def over(self) -> bool:
        """Whether the reader has everything there will ever be."""
        return self.stream is None and self.picture is None

    @property
    def lost(self) -> bool:
        """Whether the log was lost under the reader, which then has to start anew."""
        return self.stream is not None and not self.stream.ring.closed

    def batches(self) -> AsyncGenerator[Sequence[LoggedEvent], None]:
        """All events; ask `lost` when they end. Raises Unavailable like the stream."""
        if self.picture is None and self.stream is not None:
            # Not through us: most readers wait here, and each would keep one layer more.
            return self.stream.read(self.start)
        return self._after_picture()

    async def _after_picture(self) -> AsyncGenerator[Sequence[LoggedEvent], None]:
        if self.picture is not None:
            yield (self.picture,)
        if self.stream is not None:
            async for batch in self.stream.read(self.start):
                yield batch

    def waiting(self, sequence: int) -> int:
        """How many events there are here beyond that one."""
        return 0 if self.stream is None else self.stream.ring.following - 1 - sequence


class Readings:
    """For all responses of the store, whichever process writes them."""

    def __init__(
        self,
        store: ChatStore,
        productions: ProductionStore,
        logs: LogStore,
        streams: StreamRegistry,
        *,
        currency: str,
    ) -> None:
        self._store = store
        self._productions = productions
        self._logs = logs
        self._streams = streams
        self._currency = currency
        self._encode = msgspec.json.Encoder().encode

    async def open(
        self, caller: Principal, id: ResponseId, cursor: Cursor | None, *, picture: bool = False
    ) -> Reading:
        """Where a reader that has seen events up to `cursor` goes on; raises NotFound.

        picture: it wants to begin with the answer so far instead of all events.
        """
        response = await self._store.find_response(id, caller.project)
        production = await self._productions.find_production(id)
        if response is None or production is None:
            raise NotFound(f"There is no response '{id}'.", param="response_id")
        state, stream = await self._look(response, production, cursor)
        decision = Resync() if picture else decide(cursor, state)
        if isinstance(decision, Ended):
            return Reading(None)
        if isinstance(decision, Resync):
            return await self.resync(response, production)
        return self._follow(stream, response, production, decision)

    async def resync(self, response: Response, production: Production) -> Reading:
        """A picture of the answer as it is, then what follows on it."""
        if response.status is not ResponseStatus.IN_PROGRESS:
            sequence = max(0, production.following - 1)
            return Reading(None, picture=self._paint(response, production.epoch, sequence))
        progress = await self._read_all(response.id)
        if not progress.following:
            stream = self._streams.follow(response.id, epoch=production.epoch, following=0)
            return Reading(stream, 0)
        first = begin_answer(response, production.item, production.parent)
        output = chain_items(first, progress.entries, complete=False)
        shown = replace(response, output=output)
        painted = self._paint(shown, progress.epoch, progress.following - 1)
        stream = self._streams.follow(
            response.id, epoch=production.epoch, following=progress.following
        )
        return Reading(stream, progress.following, painted)

    async def resync_reader(self, caller: Principal, id: ResponseId) -> Reading:
        """For a reader whose stream was lost under it; raises NotFound."""
        return await self.open(caller, id, None, picture=True)

    async def _look(
        self, response: Response, production: Production, cursor: Cursor | None
    ) -> tuple[LogState, LiveStream | None]:
        """The log as it is now, and the stream if it is in this process."""
        stream = self._streams.find(response.id)
        if stream is not None and stream.lost:
            stream = None
        over = response.status is not ResponseStatus.IN_PROGRESS
        if not over and stream is not None and stream.local:
            first: int | None = 0
            following, epoch = stream.ring.following, max(stream.epoch, production.epoch)
        elif over and not self._streams.is_kept(response.finished_at):
            first, following, epoch = None, production.following, production.epoch
        else:
            start = await self._logs.read(response.id, 0, 1)
            first = start[0].first if start else (0 if not over else None)
            following, epoch = production.following, production.epoch
            if not over:
                following = await self._count(response.id, cursor, following)
        at_cursor = None
        if cursor is not None and cursor.epoch not in (None, epoch) and cursor.sequence < following:
            at_cursor = await self._epoch_at(response.id, cursor.sequence)
        return LogState(first, following, epoch, over, at_cursor), stream

    async def _count(self, id: ResponseId, cursor: Cursor | None, least: int) -> int:
        """A lower bound of the events that a log of another process has: enough for `cursor`."""
        place = 0 if cursor is None else cursor.sequence
        chunks = await self._logs.read(id, place, 1)
        return max(least, chunks[-1].following) if chunks else least

    async def _epoch_at(self, id: ResponseId, sequence: int) -> int | None:
        for chunk in await self._logs.read(id, sequence, 1):
            for event in chunk.events:
                if event.sequence == sequence:
                    return event.epoch
        return None

    async def _read_all(self, id: ResponseId) -> Progress:
        progress = Progress()
        while chunks := await self._logs.read(id, progress.following, _READ_CHUNKS):
            progress = read_progress(_from_the_start(chunks, progress.following), progress)
            if chunks[-1].following > progress.following:
                break
        return progress

    def _follow(
        self,
        stream: LiveStream | None,
        response: Response,
        production: Production,
        decision: ReadFrom,
    ) -> Reading:
        if stream is None:
            stream = self._streams.follow(
                response.id, epoch=production.epoch, following=decision.sequence
            )
        return Reading(stream, decision.sequence)

    def _paint(self, response: Response, epoch: int, sequence: int) -> LoggedEvent:
        event = ResponseResync(
            sequence_number=sequence, response=render_response(response, self._currency)
        )
        data = self._encode(event)
        return log_event(response.id, epoch, sequence, event_type(event), data)


def _from_the_start(chunks: Sequence[Chunk], following: int) -> Sequence[Chunk]:
    """Those that follow on each other without a gap."""
    whole = []
    for chunk in chunks:
        if chunk.first > following:
            break
        whole.append(chunk)
        following = chunk.following
    return whole
