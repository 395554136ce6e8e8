"""Whether a cost still fits under caps, and which budgets apply to whom.

Decides from sums alone. Knows neither who spends nor how the sums were made.
"""

from collections.abc import Iterable, Mapping, Sequence

from tokenyard.ledger.records import ANYBODY, Balance, Budget, Cap, CapReached, Subject

NOTHING = Balance()


def find_budget(budgets: Sequence[Mapping[Subject, Budget]], subject: Subject) -> Budget | None:
    """The budget of a subject: its own, or else the one for anybody of its scope.

    budgets: books of which the first that has one counts, the organisation's before the default.
    """
    scope, name = subject
    for book in budgets:
        found = book.get((scope, name)) or book.get((scope, ANYBODY))
        if found is not None:
            return found
    return None


def caps_of(budgets: Sequence[Mapping[Subject, Budget]], subjects: Iterable[Subject]) -> list[Cap]:
    """The hard caps that hold for these subjects, in their order."""
    caps = []
    for subject in subjects:
        budget = find_budget(budgets, subject)
        if budget is not None and budget.hard_nanos is not None:
            caps.append(Cap(*subject, budget.hard_nanos))
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
