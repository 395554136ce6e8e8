"""Whether and when a failed job is tried again, by the kind of its failure.

A kind decides who is to blame: what the job itself did is not tried again unless its owner said so;
what the platform did to it is. It does not know clocks, nodes or processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tokenyard.vocabulary.reasons import Reason


class FailureKind(StrEnum):
    """Why an attempt ended badly; the same words as the reasons."""

    USER_ERROR = Reason.USER_ERROR
    OUT_OF_MEMORY = Reason.OUT_OF_MEMORY
    NODE_LOST = Reason.NODE_LOST
    PREEMPTED = Reason.PREEMPTED
    TIME_LIMIT = Reason.TIME_LIMIT
    LAUNCH_FAILED = Reason.LAUNCH_FAILED


# How often each kind is tried again unless the job says otherwise.
RETRIES_DEFAULT: dict[FailureKind, int] = {
    FailureKind.USER_ERROR: 0,
    FailureKind.OUT_OF_MEMORY: 0,
    # A server that is started anew counts as a lost node too.
    FailureKind.NODE_LOST: 20,
    FailureKind.PREEMPTED: 1_000_000,
    FailureKind.TIME_LIMIT: 0,
    FailureKind.LAUNCH_FAILED: 3,
}
# Of several members that ended badly, the one that says most about the cause.
_WEIGHT = {
    FailureKind.PREEMPTED: 0,
    FailureKind.TIME_LIMIT: 1,
    FailureKind.USER_ERROR: 2,
    FailureKind.LAUNCH_FAILED: 3,
    FailureKind.NODE_LOST: 4,
    FailureKind.OUT_OF_MEMORY: 5,
}


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after that long."""

    wait_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not; `exhausted` when there were retries and all are used up."""

    exhausted: bool


def classify(kinds: list[FailureKind]) -> FailureKind:
    """The kind of a gang whose members ended so; the list is not empty.

    When one member dies the others often die of it, with errors of their own.
    """
    return max(kinds, key=lambda kind: _WEIGHT[kind])


def decide(
    kind: FailureKind,
    failures: Mapping[str, int],
    budgets: Mapping[str, int],
    *,
    back_off_seconds: float,
    back_off_seconds_max: float,
) -> Again | GiveUp:
    """What follows a failure; `failures` counts those of each kind, this one included."""
    budget = budgets.get(kind, RETRIES_DEFAULT[kind])
    count = failures.get(kind, 0)
    if count > budget:
        return GiveUp(exhausted=budget > 0)
    if kind is FailureKind.PREEMPTED:
        return Again(0.0)
    doubled = back_off_seconds * 2.0 ** min(count - 1, 60)
    return Again(min(doubled, back_off_seconds_max))
