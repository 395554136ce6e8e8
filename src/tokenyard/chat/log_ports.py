"""What the chat needs in order to keep streams: durable logs, and who may write them.

Logs are kept by memory, SQL and Redis, productions by memory and SQL.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tokenyard.chat.records import Response
from tokenyard.chat.rules.stream_log import Chunk
from tokenyard.vocabulary.ids import ItemId, ProducerId, ResponseId


@dataclass(frozen=True, slots=True)
class Production:
    """What it takes to write a response: the right to (producer and epoch), and what was asked.

    request: the body that the model server was sent, seed included, so that a successor asks the
    same; empty once the response has ended. following: of the log, set at the end.
    """

    response: ResponseId
    producer: ProducerId | None
    epoch: int
    # The answer's item, and the one that it is put below.
    item: ItemId
    parent: ItemId | None
    request: bytes
    following: int = 0
    cancelled: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Orphan:
    """A response in progress that nobody writes, or whose writer is to stop."""

    response: Response
    production: Production


class Outcome(StrEnum):
    """What became of a chunk."""

    KEPT = "kept"
    # Another producer has the log now, or it is closed or gone.
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class Behind:
    """The log lost events: it ends before the chunk begins, and goes on with number `following`."""

    following: int


class LogStore(Protocol):
    """Logs of responses. What is appended stays until it is forgotten."""

    @property
    def apart(self) -> bool:
        """Whether logs are kept apart from `ChatStore`, which then does not append their ends."""
        ...

    @property
    def poll_seconds(self) -> float:
        """How long to let pass after a `wait` that brought nothing, before the next one."""
        ...

    async def append(self, chunks: Sequence[Chunk]) -> Sequence[Outcome | Behind]:
        """Add chunks at the ends of their logs, each of which has one chunk at most here.

        To append a chunk that is there already changes nothing and is `KEPT`, so that a lost reply
        can be answered by trying again. Raises Unavailable; some may then have been appended.
        """
        ...

    async def fence(self, response: ResponseId, epoch: int) -> None:
        """From now on nothing of an earlier epoch can be appended."""
        ...

    async def read(self, response: ResponseId, start: int, limit: int) -> Sequence[Chunk]:
        """Chunks in order, from the one that holds event `start` on, `limit` of them at most."""
        ...

    async def wait(self, cursors: Mapping[ResponseId, int]) -> Mapping[ResponseId, Sequence[Chunk]]:
        """Like `read` for many logs; may wait a moment for the first chunk that is new in any."""
        ...

    async def forget(self, responses: Sequence[ResponseId]) -> None:
        """Remove these logs."""
        ...

    async def sweep(self, before: float) -> None:
        """Remove logs of responses that ended before that time."""
        ...


class ProductionStore(Protocol):
    """Who writes which response. Belongs to the same data as `ChatStore`."""

    async def find_production(self, response: ResponseId) -> Production | None:
        """None when there never was one."""
        ...

    async def beat(self, producer: ProducerId) -> Mapping[ProducerId, int]:
        """Count one sign of life (the first announces the producer); returns all counts."""
        ...

    async def find_orphans(
        self, producer: ProducerId, dead: AbstractSet[ProducerId], *, limit: int
    ) -> Sequence[Orphan]:
        """Responses in progress that have no producer, a dead or unknown one.

        Those of `producer` itself that somebody wants cancelled are among them.
        """
        ...

    async def take(self, response: ResponseId, epoch: int, producer: ProducerId) -> bool:
        """Become the producer with the epoch after `epoch`; False when somebody else was faster."""
        ...

    async def release(self, response: ResponseId, epoch: int) -> bool:
        """Hand over: leave it without a producer; False when it is not ours any more."""
        ...

    async def cancel(self, response: ResponseId) -> bool:
        """Ask the producer to stop; False when it has ended."""
        ...

    async def bury(self, producers: AbstractSet[ProducerId]) -> None:
        """Forget producers that have nothing in progress."""
        ...
