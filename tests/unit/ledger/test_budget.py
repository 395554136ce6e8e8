"""Budgets: nothing is admitted that could pass the cap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.ledger.rules.budget import Admitted, Denied, decide
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
