"""A dead server comes back soon at first, then ever more slowly, never beyond the bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.fleet.rules.restart import Backoff, count_deaths, wait_seconds

BACKOFF = Backoff(0.5, 30.0)


@pytest.mark.parametrize(
    ("deaths", "seconds"), [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (10_000, 30.0)]
)
def test_wait_doubles_to_the_bound(deaths: int, seconds: float) -> None:
    assert wait_seconds(deaths, BACKOFF) == seconds


@given(st.integers(0, 100))
def test_wait_never_shrinks_and_stays_in_bounds(deaths: int) -> None:
    assert 0.5 <= wait_seconds(deaths, BACKOFF) <= wait_seconds(deaths + 1, BACKOFF) <= 30


def test_long_life_forgives() -> None:
    assert count_deaths(5, lived_seconds=3) == 6
    assert count_deaths(5, lived_seconds=61) == 1
