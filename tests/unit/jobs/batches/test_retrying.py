"""What the failure of a line means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.jobs.batches.rules.retrying import Course, backoff_seconds, decide
from tokenyard.vocabulary.reasons import Reason


@pytest.mark.parametrize(
    ("status", "reason", "attempts", "course"),
    [
        (400, Reason.CONTEXT_LENGTH_EXCEEDED, 1, Course.GIVE_UP),
        (404, Reason.MODEL_NOT_FOUND, 1, Course.GIVE_UP),
        (413, Reason.BODY_TOO_LARGE, 1, Course.GIVE_UP),
        (429, Reason.RATE_LIMIT_REQUESTS, 99, Course.WAIT),
        (429, Reason.INSUFFICIENT_BUDGET, 1, Course.NO_MONEY),
        (503, Reason.QUEUE_FULL, 99, Course.WAIT),
        (503, Reason.MODEL_LOADING, 99, Course.AWAY),
        (503, Reason.UPSTREAM_UNAVAILABLE, 99, Course.AWAY),
        (500, Reason.INTERNAL_ERROR, 1, Course.RETRY),
        (502, Reason.UPSTREAM_FAILED, 2, Course.RETRY),
        (502, Reason.UPSTREAM_TIMEOUT, 3, Course.GIVE_UP),
        (502, Reason.UPSTREAM_FAILED, 4, Course.GIVE_UP),
    ],
)
def test_courses(status: int, reason: Reason, attempts: int, course: Course) -> None:
    assert decide(status, reason, attempts=attempts, attempts_max=3) is course


@pytest.mark.parametrize(
    ("attempts", "told", "seconds"),
    [
        (0, None, 1),
        (1, None, 1),
        (2, None, 2),
        (4, None, 8),
        (9, None, 60),
        (500, None, 60),
        (1, 7.0, 7),
        (1, 900.0, 60),
        (4, 2.0, 8),
    ],
)
def test_waits(attempts: int, told: float | None, seconds: float) -> None:
    wait = backoff_seconds(attempts, seconds_min=1, seconds_max=60, told=told)
    assert wait == seconds


@given(st.integers(0, 10**6), st.one_of(st.none(), st.floats(0, 1e9)))
def test_a_wait_is_within_its_bounds(attempts: int, told: float | None) -> None:
    assert 1 <= backoff_seconds(attempts, seconds_min=1, seconds_max=60, told=told) <= 60
