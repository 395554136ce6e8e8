"""What the failure of a line means: wait and try again, try again a few times, or give up.

Knows statuses, reasons and counts; does not know how long anybody has waited.
"""

from enum import StrEnum

from tokenyard.vocabulary.reasons import Reason

_NOBODY_THERE = frozenset({Reason.MODEL_LOADING, Reason.UPSTREAM_UNAVAILABLE})


class Course(StrEnum):
    """What to do with a line that failed."""

    # The server is full: wait, longer each time, and send less. The window of the batch ends it.
    WAIT = "wait"
    # No server is there: look again soon, as looking asks nobody for anything.
    AWAY = "away"
    # It broke, perhaps because of this line: a few times.
    RETRY = "retry"
    # It will not go otherwise: the line has failed.
    GIVE_UP = "give_up"
    # The project's money is reserved or spent.
    NO_MONEY = "no_money"


def decide(status: int, reason: Reason, *, attempts: int, attempts_max: int) -> Course:
    """What to do after the attempt number `attempts` (from 1) ended with that status and reason."""
    if reason is Reason.INSUFFICIENT_BUDGET:
        return Course.NO_MONEY
    if status in (429, 503):
        return Course.AWAY if reason in _NOBODY_THERE else Course.WAIT
    if status >= 500:
        return Course.RETRY if attempts < attempts_max else Course.GIVE_UP
    return Course.GIVE_UP


def backoff_seconds(
    attempts: int, *, seconds_min: float, seconds_max: float, told: float | None
) -> float:
    """How long to wait after that many failures in a row; what the server told counts if longer."""
    doubled = seconds_min * 2.0 ** min(max(attempts, 1) - 1, 30)
    return min(max(doubled, told or 0.0), seconds_max)
