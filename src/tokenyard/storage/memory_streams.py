"""Logs and productions in memory: for tests, and for a process that may forget.

Several processes of a simulation may share one state.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from tokenyard.chat.log_ports import Behind, Orphan, Outcome, Production
from tokenyard.chat.records import Response, ResponseStatus
from tokenyard.chat.rules.stream_log import Chunk
from tokenyard.vocabulary.ids import ProducerId, ResponseId

FindResponse = Callable[[ResponseId], Response | None]


@dataclass(slots=True)
class StreamState:
    """All logs, who writes them, and how often each producer was heard of."""

    logs: dict[ResponseId, list[Chunk]] = field(default_factory=dict)
    productions: dict[ResponseId, Production] = field(default_factory=dict)
    beats: dict[ProducerId, int] = field(default_factory=dict)

    def following(self, response: ResponseId) -> int:
        """The number that the next event of that log will have."""
        chunks = self.logs.get(response)
        return chunks[-1].following if chunks else 0

    def append(self, chunk: Chunk) -> Outcome | Behind:
        """Add a chunk at the end of its log."""
        following = self.following(chunk.response)
        production = self.productions.get(chunk.response)
        if production is None or production.epoch != chunk.epoch:
            return Outcome.FENCED
        if following >= chunk.following:
            return Outcome.KEPT
        if production.closed and not chunk.final:
            return Outcome.FENCED
        if following != chunk.first:
            return Behind(following)
        self.logs.setdefault(chunk.response, []).append(chunk)
        return Outcome.KEPT

    def close(self, ending: Chunk) -> bool:
        """End a log and its production; False when that is another producer's now."""
        production = self.productions.get(ending.response)
        if production is None or production.closed or production.epoch != ending.epoch:
            return False
        # Where logs are kept apart it is the only one here.
        self.logs.setdefault(ending.response, []).append(ending)
        self.productions[ending.response] = replace(
            production, closed=True, following=ending.following, request=b"", producer=None
        )
        return True

    def drop(self, response: ResponseId) -> None:
        """Forget all of a response that was deleted."""
        self.productions.pop(response, None)
        self.logs.pop(response, None)


class MemoryStreamStore:
    """Keeps `chat.log_ports.LogStore` and `ProductionStore`."""

    apart = False
    poll_seconds = 0.1

    def __init__(self, state: StreamState, find_response: FindResponse) -> None:
        self._state = state
        self._find_response = find_response

    async def append(self, chunks: Sequence[Chunk]) -> Sequence[Outcome | Behind]:
        """Add chunks at the ends of their logs."""
        return [self._state.append(chunk) for chunk in chunks]

    async def fence(self, response: ResponseId, epoch: int) -> None:
        """Nothing to do: the production's epoch is the fence."""

    async def read(self, response: ResponseId, start: int, limit: int) -> Sequence[Chunk]:
        """Chunks in order, from the one that holds event `start` on."""
        held = self._state.logs.get(response, ())
        return [chunk for chunk in held if chunk.following > start][:limit]

    async def wait(self, cursors: Mapping[ResponseId, int]) -> Mapping[ResponseId, Sequence[Chunk]]:
        """What is new now; waits for nothing."""
        return {one: await self.read(one, start, 100) for one, start in cursors.items()}

    async def forget(self, responses: Sequence[ResponseId]) -> None:
        """Remove these logs."""
        for response in responses:
            self._state.logs.pop(response, None)

    async def sweep(self, before: float) -> None:
        """Remove logs of responses that ended before that time."""
        for response in list(self._state.logs):
            held = self._find_response(response)
            if held is None or (held.finished_at is not None and held.finished_at < before):
                del self._state.logs[response]

    async def find_production(self, response: ResponseId) -> Production | None:
        """None when there never was one."""
        return self._state.productions.get(response)

    async def beat(self, producer: ProducerId) -> Mapping[ProducerId, int]:
        """Count one sign of life; returns all counts."""
        self._state.beats[producer] = self._state.beats.get(producer, 0) + 1
        return dict(self._state.beats)

    async def find_orphans(
        self, producer: ProducerId, dead: AbstractSet[ProducerId], *, limit: int
    ) -> Sequence[Orphan]:
        """Responses in progress that nobody writes, or whose writer is to stop."""
        found = []
        for one in self._state.productions.values():
            response = self._find_response(one.response)
            if response is None or response.status is not ResponseStatus.IN_PROGRESS:
                continue
            ours = one.producer == producer and one.cancelled
            lost = one.producer in dead or one.producer not in self._state.beats
            if ours or (lost and one.producer != producer):
                found.append(Orphan(response, one))
        return found[:limit]

    async def take(self, response: ResponseId, epoch: int, producer: ProducerId) -> bool:
        """Become the producer with the next epoch; False when somebody else was faster."""
        held = self._state.productions.get(response)
        if held is None or held.closed or held.epoch != epoch:
            return False
        taken = replace(held, epoch=epoch + 1, producer=producer)
        self._state.productions[response] = taken
        return True

    async def release(self, response: ResponseId, epoch: int) -> bool:
        """Leave it without a producer; False when it is not ours any more."""
        held = self._state.productions.get(response)
        if held is None or held.closed or held.epoch != epoch:
            return False
        self._state.productions[response] = replace(held, producer=None)
        return True

    async def cancel(self, response: ResponseId) -> bool:
        """Ask the producer to stop; False when it has ended."""
        held = self._state.productions.get(response)
        if held is None or held.closed:
            return False
        self._state.productions[response] = replace(held, cancelled=True)
        return True

    async def bury(self, producers: AbstractSet[ProducerId]) -> None:
        """Forget producers that have nothing in progress."""
        busy = {one.producer for one in self._state.productions.values() if not one.closed}
        for producer in producers - busy:
            self._state.beats.pop(producer, None)
