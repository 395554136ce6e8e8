"""Budgets: nothing is admitted that could pass a cap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenyard.ledger.records import ANYBODY, Balance, Budget, Cap, CapReached, Scope, Subject
from tokenyard.ledger.rules.budget import caps_of, decide, passed_soft
from tokenyard.vocabulary.ids import BudgetId

NANOS = st.integers(0, 10**15)
ME: Subject = (Scope.PROJECT, "p")
KEY: Subject = (Scope.KEY, "k")


def cap(nanos: int, subject: Subject = ME) -> Cap:
    return Cap(*subject, nanos)


@pytest.mark.parametrize(
    ("spent", "reserved", "worst", "limit", "left"),
    [
        (0, 0, 10, 10, None),
        (0, 0, 11, 10, 10),
        (4, 5, 1, 10, None),
        (4, 5, 2, 10, 1),
        (12, 0, 1, 10, 0),
        (12, 0, 0, 10, None),
        (0, 0, 1, 0, 0),
    ],
)
def test_known_verdicts(
    spent: int, reserved: int, worst: int, limit: int, left: int | None
) -> None:
    reached = decide([cap(limit)], {ME: Balance(spent, reserved)}, worst)
    assert reached == (None if left is None else CapReached(cap(limit), left))


def test_without_a_cap_everything_fits() -> None:
    assert decide([], {ME: Balance(10**18, 10**18)}, 10**18) is None


def test_of_several_caps_the_tightest_is_told() -> None:
    held = {ME: Balance(0, 7), KEY: Balance(9, 0)}
    assert decide([cap(10), cap(10, KEY)], held, 5) == CapReached(cap(10, KEY), 1)
    assert decide([cap(10), cap(100, KEY)], held, 5) == CapReached(cap(10), 3)


@given(st.lists(st.tuples(NANOS, st.floats(0, 1)), max_size=30), NANOS)
def test_spending_never_passes_the_cap(requests: list[tuple[int, float]], limit: int) -> None:
    """Any mix of reservations that stay open and of those that settle for a part of the worst."""
    held = Balance()
    for worst, share in requests:
        reached = decide([cap(limit)], {ME: held}, worst)
        if reached is not None:
            assert reached.remaining_nanos == limit - held.spent_nanos - held.reserved_nanos
            assert reached.remaining_nanos < worst
        elif share < 0.5:
            held = Balance(held.spent_nanos, held.reserved_nanos + worst)
        else:
            held = Balance(held.spent_nanos + int(worst * share), held.reserved_nanos)
        assert held.spent_nanos + held.reserved_nanos <= limit


def test_a_budget_of_its_own_stands_before_the_one_for_anybody() -> None:
    budgets = {
        (Scope.PROJECT, ANYBODY): Budget(BudgetId("a"), Scope.PROJECT, ANYBODY, hard_nanos=5),
        ME: Budget(BudgetId("b"), *ME, hard_nanos=7),
        KEY: Budget(BudgetId("c"), *KEY, soft_nanos=1),
    }
    assert caps_of([budgets], [KEY, ME]) == [cap(7)]
    assert caps_of([budgets], [(Scope.PROJECT, "q")]) == [Cap(Scope.PROJECT, "q", 5)]
    assert caps_of([budgets], [(Scope.USER, "p")]) == []


def test_a_warning_is_due_when_what_is_spent_reaches_it() -> None:
    budget = Budget(BudgetId("b"), *ME, soft_nanos=10)
    assert not passed_soft(budget, Balance(9, 100))
    assert passed_soft(budget, Balance(10, 0))
    assert not passed_soft(Budget(BudgetId("b"), *ME, hard_nanos=1), Balance(10, 0))
