"""The circuit breaker, by table and by property."""

from hypothesis import given
from hypothesis import strategies as st

from tokenyard.upstreams.rules.breaker import (
    Breaker,
    BreakerRule,
    BreakerState,
    begin,
    fail,
    may_ask,
    succeed,
)

RULE = BreakerRule(3, 1.0, 8.0)


def test_its_life() -> None:
    breaker = Breaker()
    for _ in range(2):
        breaker = fail(breaker, 0.0, RULE)
        assert may_ask(breaker, 0.0)
    breaker = fail(breaker, 0.0, RULE)
    assert breaker.state is BreakerState.OPEN
    assert not may_ask(breaker, 0.99)
    # One that was on its way when it opened changes nothing.
    assert fail(breaker, 0.5, RULE) == breaker
    assert may_ask(breaker, 1.0)
    breaker = begin(breaker, 1.0, RULE)
    assert not may_ask(breaker, 1.1), "one trial is enough"
    breaker = fail(breaker, 1.2, RULE)
    assert not may_ask(breaker, 3.1)
    breaker = begin(breaker, 3.2, RULE)
    assert succeed(breaker) == Breaker()


def test_a_trial_that_tells_nothing_does_not_hold_the_others_up_for_ever() -> None:
    breaker = begin(Breaker(BreakerState.OPEN, 3, 1, 5.0), 5.0, RULE)
    assert not may_ask(breaker, 12.9)
    assert may_ask(breaker, 13.0)


def test_an_answer_ends_the_count() -> None:
    breaker = fail(fail(Breaker(), 0.0, RULE), 0.0, RULE)
    breaker = fail(succeed(breaker), 0.0, RULE)
    assert may_ask(breaker, 0.0)


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=60))
def test_it_is_never_shut_for_longer_than_its_longest_time(
    calls: list[tuple[float, bool]],
) -> None:
    breaker, now = Breaker(), 0.0
    for gap, answered in calls:
        now += gap
        if may_ask(breaker, now):
            breaker = begin(breaker, now, RULE)
            breaker = succeed(breaker) if answered else fail(breaker, now, RULE)
        assert may_ask(breaker, now + RULE.seconds_max)
