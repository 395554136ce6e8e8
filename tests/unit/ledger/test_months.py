"""Months are calendar months in UTC, without gaps."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.ledger.months import month_of


@pytest.mark.parametrize(
    ("at", "since", "until"),
    [
        ("2026-11-23T12:00:00", "2026-11-01T00:00:00", "2026-12-01T00:00:00"),
        ("2026-12-31T23:59:59", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        ("2028-02-29T00:00:00", "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
        ("2026-03-01T00:00:00", "2026-03-01T00:00:00", "2026-04-01T00:00:00"),
    ],
)
def test_months(at: str, since: str, until: str) -> None:
    month = month_of(seconds(at))
    assert (month.since, month.until) == (seconds(since), seconds(until))


@given(st.floats(0, 4_000_000_000))
def test_every_time_lies_in_its_month_and_months_follow_each_other(at: float) -> None:
    month = month_of(at)
    assert month.holds(at)
    assert not month.holds(month.until)
    assert month_of(month.until).since == month.until


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
