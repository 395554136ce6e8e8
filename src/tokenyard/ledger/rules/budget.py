"""Whether a cost still fits under caps, and which budgets apply to whom.

Decides from sums alone. Knows neither who spends nor how the sums were made.
"""

from collections.abc import Iterable, Mapping, Sequence

from tokenyard.ledger.records import ANYBODY, Balance, Budget, Cap, CapReached, Subject

NOTHING = Balance()


def find_budgets(budgets: Mapping[Subject, Budget], subjects: Iterable[Subject]) -> list[Budget]:
    """The budget of each subject: its own, or else the one for anybody of its scope."""
    found = (
        budgets.get((scope, name)) or budgets.get((scope, ANYBODY)) for scope, name in subjects
    )
    return [budget for budget in found if budget is not None]


def caps_of(budgets: Mapping[Subject, Budget], subjects: Sequence[Subject]) -> list[Cap]:
    """The hard caps that hold for these subjects, in their order."""
    caps = []
    for scope, name in subjects:
        budget = budgets.get((scope, name)) or budgets.get((scope, ANYBODY))
        if budget is not None and budget.hard_nanos is not None:
            caps.append(Cap(scope, name, budget.hard_nanos))
    return caps


def decide(
    caps: Iterable[Cap], balances: Mapping[Subject, Balance], worst_nanos: int
) -> CapReached | None:
    """None when the worst cost fits beside what is spent and reserved under every cap.

    What costs nothing fits even where a cap was passed before (it may have been lowered). Of
    several caps that it does not fit under, the one with the least left is told.
    """
    if worst_nanos == 0:
        return None
    short = []
    for cap in caps:
        balance = balances.get((cap.scope, cap.subject), NOTHING)
        remaining = cap.nanos - balance.spent_nanos - balance.reserved_nanos
        if worst_nanos > remaining:
            short.append(CapReached(cap, max(remaining, 0)))
    return min(short, key=lambda found: found.remaining_nanos, default=None)


def passed_soft(budget: Budget, balance: Balance) -> bool:
    """Whether the warning of a budget is due: what is spent, not what is only reserved."""
    return budget.soft_nanos is not None and balance.spent_nanos >= budget.soft_nanos
