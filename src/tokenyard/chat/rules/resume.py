"""Where a reader who comes (back) goes on in a log: strictly after what it has seen.

Knows numbers only. A cursor that cannot be right is refused, never answered with a silent replay.
"""

import re
from dataclasses import dataclass

_EVENT_ID = re.compile(
    r"(?P<response>resp_[0-9a-f]{24})\.(?P<epoch>\d{1,9})\.(?P<sequence>\d{1,9})"
)


@dataclass(frozen=True, slots=True)
class ReadFrom:
    """Replay from this number, then go on live until the log is closed."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The reader has everything there will ever be."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The cursor does not belong to this log; `why` is a sentence."""

    why: str


def decide(
    starting_after: int | None, *, next_sequence: int, closed: bool
) -> ReadFrom | Ended | Refused:
    """Where to go on for a reader that has seen events up to `starting_after` (None: nothing)."""
    if starting_after is None:
        return ReadFrom(0)
    if starting_after < 0:
        return Refused("a sequence number is never negative; leave it out to read from the start")
    if starting_after >= next_sequence:
        return Refused(f"event {starting_after} does not exist yet")
    if closed and starting_after == next_sequence - 1:
        return Ended()
    return ReadFrom(starting_after + 1)


def spell_event_id(response: str, epoch: int, sequence: int) -> str:
    """The `id:` of an event: names the log, the producer's epoch and the number."""
    return f"{response}.{epoch}.{sequence}"


def parse_event_id(text: str, response: str) -> int | Refused:
    """The number in a `Last-Event-ID` that this log gave out."""
    match = _EVENT_ID.fullmatch(text)
    if match is None:
        return Refused("it is not an event id of this server")
    if match["response"] != response:
        return Refused("it belongs to another response")
    return int(match["sequence"])
