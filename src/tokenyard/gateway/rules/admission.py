"""Whether there is room for one more answer: on this gateway, and at the model servers.

Knows counts; does not know who asks, nor how long an answer takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tokenyard.vocabulary.load import Load


class Class(StrEnum):
    """Who is let in first when there is little room."""

    INTERACTIVE = "interactive"
    # Requests that pay more for it.
    UPPER = "upper"
    # Flex requests and lines of batches.
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be in progress, here and at each model server.

    lower_share: the part of the three at which the lower class is refused already. upper_share:
    how many times as much the upper class may find.
    """

    in_all: int
    waiting_max: int = 64
    kv_share_max: float = 0.95
    first_token_seconds: float = 30.0
    lower_share: float = 0.5
    upper_share: float = 1.5

    def share(self, kind: Class) -> float:
        """The part of the three that counts for a class."""
        match kind:
            case Class.LOWER:
                return self.lower_share
            case Class.UPPER:
                return self.upper_share
            case Class.INTERACTIVE:
                return 1.0


@dataclass(frozen=True, slots=True)
class Busy:
    """Why nobody of that class is let in, and when to come back."""

    why: str
    retry_after_seconds: float


def decide(in_progress: int, room: Room) -> bool:
    """Whether this gateway has room for one more."""
    return in_progress < room.in_all


def judge_load(loads: Sequence[Load], room: Room, kind: Class) -> Busy | None:
    """None when some model server has room for a request of that class, or none tells its load."""
    judged = [_judge(load, room, room.share(kind)) for load in loads]
    if not judged or any(busy is None for busy in judged):
        return None
    return min(
        (busy for busy in judged if busy is not None), key=lambda one: one.retry_after_seconds
    )


def _judge(load: Load, room: Room, share: float) -> Busy | None:
    # The longer the queue, the later it is worth coming back.
    later = max(1.0, load.first_token_seconds)
    if load.waiting >= max(1, room.waiting_max * share):
        return Busy(f"{load.waiting} requests wait already", later)
    if load.waiting and load.kv_share >= room.kv_share_max * share:
        return Busy(f"{load.kv_share:.0%} of the KV cache is in use and requests wait", later)
    if load.waiting and load.first_token_seconds >= room.first_token_seconds * share:
        return Busy(f"a first token takes {load.first_token_seconds:.0f} s", later)
    return None
