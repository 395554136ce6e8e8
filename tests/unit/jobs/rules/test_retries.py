"""Which failures are tried again, how often, and after how long."""

import pytest

from tokenyard.jobs.rules.retries import Again, FailureKind, GiveUp, classify, decide

K = FailureKind


@pytest.mark.parametrize(
    ("kind", "count", "budget", "follows"),
    [
        (K.USER_ERROR, 1, None, GiveUp(exhausted=False)),
        (K.OUT_OF_MEMORY, 1, None, GiveUp(exhausted=False)),
        (K.TIME_LIMIT, 1, None, GiveUp(exhausted=False)),
        (K.USER_ERROR, 1, 2, Again(2.0)),
        (K.USER_ERROR, 2, 2, Again(4.0)),
        (K.USER_ERROR, 3, 2, GiveUp(exhausted=True)),
        (K.NODE_LOST, 1, None, Again(2.0)),
        (K.NODE_LOST, 1, 0, GiveUp(exhausted=False)),
        (K.NODE_LOST, 12, None, Again(60.0)),
        (K.NODE_LOST, 900_000, 1_000_000, Again(60.0)),
        (K.LAUNCH_FAILED, 4, None, GiveUp(exhausted=True)),
        (K.PREEMPTED, 500, None, Again(0.0)),
        (K.PREEMPTED, 2, 1, GiveUp(exhausted=True)),
    ],
)
def test_what_follows(
    kind: FailureKind, count: int, budget: int | None, follows: Again | GiveUp
) -> None:
    budgets: dict[str, int] = {} if budget is None else {kind.value: budget}
    decided = decide(
        kind, {kind.value: count}, budgets, back_off_seconds=2.0, back_off_seconds_max=60.0
    )
    assert decided == follows


@pytest.mark.parametrize(
    ("kinds", "cause"),
    [
        # When one runs out of memory, the others fail for want of it.
        ([K.USER_ERROR, K.OUT_OF_MEMORY, K.USER_ERROR], K.OUT_OF_MEMORY),
        ([K.USER_ERROR, K.NODE_LOST], K.NODE_LOST),
        ([K.USER_ERROR], K.USER_ERROR),
        ([K.TIME_LIMIT, K.PREEMPTED], K.TIME_LIMIT),
    ],
)
def test_the_cause_of_a_gangs_end(kinds: list[FailureKind], cause: FailureKind) -> None:
    assert classify(kinds) is cause
