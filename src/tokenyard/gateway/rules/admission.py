"""Whether there is room for one more answer: of this caller, and in all.

Knows counts; does not know who is counted, nor how long an answer takes.
"""

from dataclasses import dataclass

from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class Room:
    """How many answers may be in progress at the same time."""

    per_caller: int
    in_all: int


def decide(of_caller: int, in_all: int, room: Room) -> Reason | None:
    """None when there is room; else which limit is reached, the caller's own first."""
    if of_caller >= room.per_caller:
        return Reason.CONCURRENCY_LIMIT
    if in_all >= room.in_all:
        return Reason.SYSTEM_OVERLOADED
    return None
