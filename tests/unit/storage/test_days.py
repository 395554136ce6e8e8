"""Days are those of UTC, for times before the epoch too."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.storage.days import day_number, day_text


@pytest.mark.parametrize(
    ("at", "day"),
    [
        (0.0, "1970-01-01"),
        (-0.001, "1969-12-31"),
        (86_399.999, "1970-01-01"),
        (86_400.0, "1970-01-02"),
        (1_795_456_920.4, "2026-11-23"),
    ],
)
def test_known_days(at: float, day: str) -> None:
    assert day_text(day_number(at)) == day


@given(st.floats(-2_000_000_000, 4_000_000_000))
def test_agrees_with_the_calendar(at: float) -> None:
    # Whole seconds, since the calendar rounds to microseconds.
    at = float(int(at))
    assert day_text(day_number(at)) == datetime.fromtimestamp(at, UTC).date().isoformat()
