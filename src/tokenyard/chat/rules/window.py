"""What fits into a model's window: which turns stay when not all of them do, and how full it is.

Knows sizes in tokens; does not know what the turns say.
"""

from collections.abc import Sequence
from enum import StrEnum

from tokenyard.vocabulary.messages import Role

# No template spends more than this on a turn, nor a tokenizer more than one token on a byte.
TURN_TOKENS_MAX = 32


class Fullness(StrEnum):
    """How close to its end a window is."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    FULL = "full"


def bound_tokens(texts: Sequence[str]) -> int:
    """More tokens than any tokenizer makes of these turns; costs no call to the model server."""
    return sum(len(text.encode()) + TURN_TOKENS_MAX for text in texts)


def drop_oldest(sizes: Sequence[int], roles: Sequence[Role], excess: int) -> int:
    """How many of the oldest turns must go so that at least `excess` tokens are saved.

    What stays begins with a turn of the user, because some templates refuse another beginning.
    All go when even that is not enough, or when the user said nothing in what is left.
    """
    dropped = saved = 0
    while dropped < len(sizes) and (saved < excess or roles[dropped] is not Role.USER):
        saved += sizes[dropped]
        dropped += 1
    return dropped


def judge(used: int, room: int) -> Fullness:
    """How full a window is, of which `room` tokens are for the prompt."""
    if used > room:
        return Fullness.FULL
    if used * 100 >= room * 95:
        return Fullness.CRITICAL
    return Fullness.WARNING if used * 100 >= room * 80 else Fullness.OK
