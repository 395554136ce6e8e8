"""Whether an answer that a model server broke off goes on with another one.

Knows reasons and counts. A request that was refused is not asked again; a server that died, was
silent or is not there yet is, within limits.
"""

from dataclasses import dataclass
from enum import Enum

from tokenyard.vocabulary.reasons import Reason

# It was there and broke.
_BROKEN = {Reason.UPSTREAM_FAILED, Reason.UPSTREAM_TIMEOUT}
# None is there, or none has room: worth waiting for.
_AWAY = {
    Reason.MODEL_LOADING,
    Reason.UPSTREAM_UNAVAILABLE,
    Reason.SHUTTING_DOWN,
    Reason.QUEUE_FULL,
    Reason.SYSTEM_OVERLOADED,
}


class Next(Enum):
    """What to do."""

    AT_ONCE = "at once"
    AFTER_A_WHILE = "after a while"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class Patience:
    """attempts_max: how often in a row a server may break without a further token."""

    attempts_max: int
    wait_seconds_max: float


def decide_next(
    reason: Reason, *, failures: int, waited_seconds: float, patience: Patience
) -> Next:
    """failures: attempts in a row that brought no token, this one included."""
    if reason in _BROKEN:
        return Next.AT_ONCE if failures < patience.attempts_max else Next.GIVE_UP
    if reason in _AWAY and waited_seconds < patience.wait_seconds_max:
        return Next.AFTER_A_WHILE
    return Next.GIVE_UP
