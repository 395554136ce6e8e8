"""Where a reader who comes (back) goes on in a log: strictly after what it has seen.

Knows numbers only. A cursor that cannot be read is refused; one that does not lead on (ahead of the
log, from a log that was lost, or to events that are no longer kept) gets a new start, which says
so. Neither is ever answered with a silent replay, a silent gap or an endless wait.
"""

import re
from dataclasses import dataclass

_EVENT_ID = re.compile(
    r"(?P<response>resp_[0-9a-f]{24})\.(?P<epoch>\d{1,9})\.(?P<sequence>\d{1,9})"
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a reader has seen last; `epoch` where it told the whole event id."""

    sequence: int
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class LogState:
    """What there is of a log. first: the oldest event that can be read; None when none can.

    epoch: of the newest producer. epoch_at_cursor: of the event with the cursor's number, None
    when it is not known.
    """

    first: int | None
    following: int
    epoch: int
    closed: bool
    epoch_at_cursor: int | None = None


@dataclass(frozen=True, slots=True)
class ReadFrom:
    """Replay from this number, then go on live until the log is closed."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The reader has everything there will ever be."""


@dataclass(frozen=True, slots=True)
class Resync:
    """The reader must start anew, from a picture of the whole answer."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The cursor is none of this log's; `why` is a sentence."""

    why: str


def decide(cursor: Cursor | None, log: LogState) -> ReadFrom | Ended | Resync:
    """Where to go on for a reader that has seen events up to `cursor` (None: nothing)."""
    start = 0 if cursor is None else cursor.sequence + 1
    if cursor is not None and _is_foreign(cursor, log):
        return Resync()
    if start > log.following:
        return Resync()
    if log.closed and start == log.following:
        return Ended()
    if log.first is None or start < log.first:
        return Resync()
    return ReadFrom(start)


def _is_foreign(cursor: Cursor, log: LogState) -> bool:
    """Whether the event that was seen is another than the one that now has its number."""
    if cursor.epoch is None:
        return False
    if cursor.epoch > log.epoch:
        return True
    return log.epoch_at_cursor is not None and log.epoch_at_cursor != cursor.epoch


def spell_event_id(response: str, epoch: int, sequence: int) -> str:
    """The `id:` of an event: names the log, the producer's epoch and the number."""
    return f"{response}.{epoch}.{sequence}"


def parse_event_id(text: str, response: str) -> Cursor | Refused:
    """What a `Last-Event-ID` that this log gave out says."""
    match = _EVENT_ID.fullmatch(text)
    if match is None:
        return Refused("it is not an event id of this server")
    if match["response"] != response:
        return Refused("it belongs to another response")
    return Cursor(int(match["sequence"]), int(match["epoch"]))
