"""The log of one response: numbered from 0 without a gap, closed exactly once.

Knows numbers and bytes; does not know who reads, nor where the log is kept. A process holds the
newest part of a log in a `Ring`; the whole of it is in the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tokenyard.vocabulary.ids import ResponseId


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One event as every reader gets it: encoded once, by the producer that had that epoch."""

    sequence: int
    epoch: int
    type: str
    # JSON, and the same as a server-sent event.
    data: bytes
    frame: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Events that are appended together, all of them or none; never empty."""

    response: ResponseId
    epoch: int
    events: tuple[LoggedEvent, ...]
    # The tokens whose text the events hold; None when the model server did not tell them.
    tokens: tuple[int, ...] | None = ()
    # Whether nothing can follow.
    final: bool = False

    @property
    def first(self) -> int:
        """The number of its first event."""
        return self.events[0].sequence

    @property
    def following(self) -> int:
        """The number that the next event will have."""
        return self.events[-1].sequence + 1


class LogGap(Exception):
    """Events came that do not follow on what is there."""


@dataclass(slots=True)
class Ring:
    """The newest events of a log, at most `events_max` of them when `trim` is called."""

    events_max: int
    # The number of the oldest event that is held here.
    first: int = 0
    closed: bool = False
    _events: list[LoggedEvent] = field(default_factory=list)

    @property
    def following(self) -> int:
        """The number that the next event will have."""
        return self.first + len(self._events)

    def extend(self, events: Sequence[LoggedEvent], *, final: bool = False) -> int:
        """Add what is new of `events`; returns how many that were. Raises LogGap.

        Events that are there already are left out, so that to hear them twice does no harm.
        """
        if self.closed or not events:
            return 0
        if events[0].sequence > self.following:
            raise LogGap
        fresh = events[self.following - events[0].sequence :]
        self._events.extend(fresh)
        self.closed = final
        return len(fresh)

    def read(self, start: int, limit: int) -> Sequence[LoggedEvent]:
        """Events from number `start` on, which must not lie before `first`."""
        place = start - self.first
        return self._events[place : place + limit]

    def trim(self) -> None:
        """Let go of the oldest events when twice as many are held as may be."""
        if len(self._events) > 2 * self.events_max:
            surplus = len(self._events) - self.events_max
            del self._events[:surplus]
            self.first += surplus
