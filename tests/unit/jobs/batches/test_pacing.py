"""How many lines may run beside interactive answers, and who gives way."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.jobs.batches.rules.pacing import (
    Claim,
    Pace,
    PaceLimits,
    allow,
    allow_of,
    answer,
    choose,
    close,
    refuse,
    yield_lines,
)

LIMITS = PaceLimits(lines_max=8, beside_interactive=2, yield_seconds=3.0, calm_seconds=5.0)
LIMIT_SETS = st.builds(
    PaceLimits,
    lines_max=st.integers(1, 100),
    beside_interactive=st.integers(1, 100),
    yield_seconds=st.floats(0.1, 100),
    calm_seconds=st.floats(0.1, 100),
)


@pytest.mark.parametrize(("quiet", "lines"), [(0.0, 2), (4.9, 2), (5.0, 8), (math.inf, 8)])
def test_lines_fill_what_interactive_answers_leave(quiet: float, lines: int) -> None:
    assert allow(LIMITS, quiet_seconds=quiet) == lines


def test_more_beside_than_in_all_is_never_allowed() -> None:
    assert allow(PaceLimits(3, 9, 1.0, 5.0), quiet_seconds=0) == 3


def test_a_refusal_halves_and_closes_and_answers_open_again() -> None:
    pace = refuse(Pace(8), wait_seconds=5, now=100)
    assert (pace.cap, allow_of(pace, 104.9), allow_of(pace, 105)) == (4, 0, 4)
    for _ in range(3):
        pace = answer(pace, LIMITS)
    assert pace.cap == 4
    pace = answer(pace, LIMITS)
    assert pace.cap == 5


def test_a_model_that_was_away_comes_back_to_as_many_lines() -> None:
    pace = close(close(Pace(8), wait_seconds=5, now=100), wait_seconds=2, now=101)
    assert (pace.cap, allow_of(pace, 104.9), allow_of(pace, 105)) == (8, 0, 8)


def test_lines_that_are_refused_together_are_one_refusal() -> None:
    pace = Pace(8)
    for late in range(8):
        pace = refuse(pace, wait_seconds=1 + late, now=100 + late / 10)
    assert pace.cap == 4
    assert pace.closed_until == pytest.approx(108.7)


@given(LIMIT_SETS, st.lists(st.one_of(st.just(None), st.floats(0, 60)), max_size=60))
def test_a_pace_is_never_stuck_nor_above_its_limit(
    limits: PaceLimits, history: list[float | None]
) -> None:
    """None is an answer, a number a refusal with that wait; a second passes between two."""
    pace, now = Pace(limits.lines_max), 0.0
    for step in history:
        now += 1
        pace = answer(pace, limits) if step is None else refuse(pace, wait_seconds=step, now=now)
        assert 1 <= pace.cap <= limits.lines_max
        assert allow_of(pace, pace.closed_until) >= 1


@given(
    LIMIT_SETS,
    st.lists(st.tuples(st.integers(0, 3), st.floats(0.01, 5)), min_size=1, max_size=40),
    st.integers(0, 120),
)
def test_an_interactive_answer_meets_too_many_lines_for_no_longer_than_the_bound(
    limits: PaceLimits, history: list[tuple[int, float]], running: int
) -> None:
    """Whatever comes and goes, the excess stands no longer than `yield_seconds` and one look."""
    since: float | None = None
    now, crowded_from = 0.0, None
    for interactive, passed in history:
        now += passed
        room = allow(limits, quiet_seconds=0)
        crowded = interactive > 0 and running > room
        crowded_from = (crowded_from if crowded_from is not None else now) if crowded else None
        since, excess = yield_lines(
            limits, running=running, interactive=interactive, crowded_since=since, now=now
        )
        assert 0 <= excess <= max(running - room, 0)
        if crowded_from is not None and now - crowded_from >= limits.yield_seconds:
            assert excess == running - room
        running -= excess
        if excess:
            crowded_from = None
        assert running >= min(running, 1)


def test_nothing_gives_way_when_nobody_waits() -> None:
    assert yield_lines(LIMITS, running=8, interactive=0, crowded_since=1.0, now=99) == (None, 0)
    assert yield_lines(LIMITS, running=2, interactive=5, crowded_since=1.0, now=99) == (None, 0)


@pytest.mark.parametrize(
    ("claims", "next_one"),
    [
        ({"a": Claim(0, 5), "b": Claim(0, 3)}, "b"),
        ({"a": Claim(1, 1), "b": Claim(0, 9)}, "b"),
        ({"b": Claim(2, 7), "a": Claim(2, 7)}, "a"),
    ],
)
def test_the_batch_with_the_fewest_running_is_next(claims: dict[str, Claim], next_one: str) -> None:
    assert choose(claims) == next_one


@given(st.integers(2, 6), st.integers(1, 5))
def test_batches_share_the_places_evenly(count: int, rounds: int) -> None:
    served = {str(number): 0 for number in range(count)}
    last = dict.fromkeys(served, 0)
    for place in range(count * rounds):
        name = choose({name: Claim(0, last[name]) for name in served})
        served[name] += 1
        last[name] = place + 1
    assert set(served.values()) == {rounds}
