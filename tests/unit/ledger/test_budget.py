"""Budgets: nothing is admitted that could pass the cap; months are calendar months in UTC."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.ledger.rules.budget import Admitted, Denied, decide, month_of
from tokenyard.vocabulary.money import Money
from tokenyard.vocabulary.reasons import Reason

NANOS = st.integers(0, 10**15)


def denied(remaining: int) -> Denied:
    return Denied(Reason.INSUFFICIENT_BUDGET, Money(remaining))


@pytest.mark.parametrize(
    ("spent", "reserved", "worst", "cap", "verdict"),
    [
        (0, 0, 10, 10, Admitted()),
        (0, 0, 11, 10, denied(10)),
        (4, 5, 1, 10, Admitted()),
        (4, 5, 2, 10, denied(1)),
        (12, 0, 1, 10, denied(0)),
        (12, 0, 0, 10, Admitted()),
        (0, 0, 1, 0, denied(0)),
        (10**18, 10**18, 10**18, None, Admitted()),
    ],
)
def test_known_verdicts(
    spent: int, reserved: int, worst: int, cap: int | None, verdict: Admitted | Denied
) -> None:
    limit = None if cap is None else Money(cap)
    assert decide(Money(spent), Money(reserved), Money(worst), limit) == verdict


@given(st.lists(st.tuples(NANOS, st.floats(0, 1)), max_size=30), NANOS)
def test_spending_never_passes_the_cap(requests: list[tuple[int, float]], cap: int) -> None:
    """Any mix of reservations that stay open and of those that settle for a part of the worst."""
    spent, reserved = Money(0), Money(0)
    for worst, share in requests:
        verdict = decide(spent, reserved, Money(worst), Money(cap))
        if isinstance(verdict, Denied):
            assert verdict.remaining == Money(cap) - spent - reserved
            assert verdict.remaining < Money(worst)
            continue
        if share < 0.5:
            reserved += Money(worst)
        else:
            spent += Money(min(worst, int(worst * share)))
        assert spent + reserved <= Money(cap)


def test_amounts_of_two_currencies_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot mix"):
        decide(Money(0), Money(0), Money(1, "EUR"), Money(1))


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
