"""Whether a cost still fits under a cap.

Decides from sums alone. Knows neither who spends nor how the sums were made.
"""

from dataclasses import dataclass

from tokenyard.vocabulary.money import Money
from tokenyard.vocabulary.reasons import Reason


@dataclass(frozen=True, slots=True)
class Admitted:
    """The cost fits."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The cost could pass the cap; `remaining` is what is neither spent nor reserved."""

    reason: Reason
    remaining: Money


def decide(
    spent: Money, reserved: Money, worst_case: Money, cap: Money | None
) -> Admitted | Denied:
    """Admit a request whose worst cost fits beside what is spent and reserved.

    No cap admits all, and what costs nothing is admitted even when the cap was passed before (it
    may have been lowered). Raises ValueError when the amounts are of different currencies.
    """
    committed = spent + reserved
    if cap is None or worst_case.nanos == 0 or committed + worst_case <= cap:
        return Admitted()
    remaining = max(cap - committed, Money(0, cap.currency))
    return Denied(Reason.INSUFFICIENT_BUDGET, remaining)
