"""What the ledger keeps: one usage row for each generation that was admitted."""

from dataclasses import dataclass

from tokenyard.ledger.rules.pricing import Rates
from tokenyard.vocabulary.generation import FinishReason, Usage
from tokenyard.vocabulary.ids import KeyId, ModelName, ProjectId, ReservationId, UserId
from tokenyard.vocabulary.money import Money


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The bill of one generation; `id` is that of the completion or response, unique here."""

    id: str
    at: float
    user: UserId
    project: ProjectId
    key: KeyId | None
    model: ModelName
    usage: Usage
    cost: Money
    finish: FinishReason


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was set aside for one generation before it began; it is billed at these rates."""

    id: ReservationId
    at: float
    user: UserId
    project: ProjectId
    key: KeyId | None
    model: ModelName
    rates: Rates
    # No usage within the bounds that were reserved for costs more.
    worst_cost: Money


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """Usage summed over rows that share the group's value."""

    # Value of what was grouped by: a model name, a key id, a user id or a day ("2026-11-23").
    group: str
    requests: int
    usage: Usage
    cost: Money
