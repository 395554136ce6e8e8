"""The log of one response: numbered from 0 without a gap, closed exactly once, bounded.

Knows numbers and bytes; does not know who reads, nor what an event means.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One event as every reader gets it: encoded once."""

    sequence: int
    type: str
    data: bytes


class LogClosed(Exception):
    """Nothing can follow the last event."""


class LogFull(Exception):
    """The log holds as many events as it may; the last place is kept for the final event."""


class StreamLog:
    """Append-only. The final event closes it; a full log still has room for that one."""

    def __init__(self, events_max: int) -> None:
        self._events: list[LoggedEvent] = []
        self._events_max = events_max
        self._closed = False

    @property
    def next_sequence(self) -> int:
        """The number that the next event will have."""
        return len(self._events)

    @property
    def closed(self) -> bool:
        """True once the final event is in."""
        return self._closed

    def append(self, kind: str, data: bytes, *, final: bool = False) -> LoggedEvent:
        """Number and keep an event; raises LogClosed or LogFull and then keeps nothing."""
        if self._closed:
            raise LogClosed
        if not final and len(self._events) >= self._events_max - 1:
            raise LogFull
        event = LoggedEvent(len(self._events), kind, data)
        self._events.append(event)
        self._closed = final
        return event

    def read(self, start: int, limit: int) -> Sequence[LoggedEvent]:
        """Events from number `start` on, at most `limit` of them."""
        return self._events[start : start + limit]
