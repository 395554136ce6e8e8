"""What the ledger keeps: usage rows, journal entries, reservations, budgets and sums over them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tokenyard.ledger.rules.pricing import Rates, Tier
from tokenyard.vocabulary.generation import FinishReason, Usage
from tokenyard.vocabulary.identity import DEFAULT_ORGANISATION
from tokenyard.vocabulary.ids import (
    BudgetId,
    KeyId,
    ModelName,
    OrganisationId,
    ProjectId,
    ReservationId,
    UserId,
)
from tokenyard.vocabulary.money import Money


class Scope(StrEnum):
    """Whose money is counted."""

    KEY = "key"
    USER = "user"
    PROJECT = "project"
    ORGANISATION = "organisation"


# A budget for every subject of its scope that has none of its own.
ANYBODY = "*"
Subject = tuple[Scope, str]


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The bill of one piece of work; `id` is that of its answer or attempt, unique here.

    saved_nanos: what the tokens from the prefix cache would have cost more without it.
    gpu_millis: thousandths of GPU-seconds, of work that is billed by time.
    reservation: the money that was set aside for it, which this row frees.
    """

    id: str
    at: float
    user: UserId
    project: ProjectId
    key: KeyId | None
    model: ModelName
    usage: Usage
    cost: Money
    finish: FinishReason
    organisation: OrganisationId = DEFAULT_ORGANISATION
    tier: Tier = Tier.DEFAULT
    upstream: str = ""
    job: str | None = None
    gpu_millis: int = 0
    saved_nanos: int = 0
    reservation: ReservationId | None = None

    def subjects(self) -> tuple[Subject, ...]:
        """Everybody whose money it is."""
        return subjects_of(self.organisation, self.project, self.user, self.key)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was set aside for one piece of work before it began; it is billed at these rates."""

    id: ReservationId
    at: float
    user: UserId
    project: ProjectId
    key: KeyId | None
    model: ModelName
    rates: Rates
    # No usage within the bounds that were reserved for costs more.
    worst_cost: Money
    organisation: OrganisationId = DEFAULT_ORGANISATION
    # What is being paid for, by the name that a process which takes it over knows.
    work: str = ""
    # The process that answers for it; when it is gone, the money comes back.
    holder: str = ""
    tier: Tier = Tier.DEFAULT

    def subjects(self) -> tuple[Subject, ...]:
        """Everybody whose money it is."""
        return subjects_of(self.organisation, self.project, self.user, self.key)


def subjects_of(
    organisation: OrganisationId, project: ProjectId, user: UserId, key: KeyId | None
) -> tuple[Subject, ...]:
    """The four levels at which money is counted; a web session has no key."""
    found: list[Subject] = [
        (Scope.USER, user),
        (Scope.PROJECT, project),
        (Scope.ORGANISATION, organisation),
    ]
    return tuple(found if key is None else [(Scope.KEY, key), *found])


class EntryKind(StrEnum):
    """What an entry of the journal does."""

    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"
    ADJUST = "adjust"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal: money that moves between three accounts of the same payer.

    What leaves `available` arrives in `reserved` or `spent` and back: the three changes of an entry
    sum to zero. `id` is made of the work's name and the kind, so that nothing is entered twice.
    """

    id: str
    kind: EntryKind
    at: float
    organisation: OrganisationId
    project: ProjectId
    user: UserId
    key: KeyId | None
    reserved_nanos: int
    spent_nanos: int
    currency: str
    note: str = ""

    @property
    def available_nanos(self) -> int:
        """The change of what is neither reserved nor spent."""
        return -(self.reserved_nanos + self.spent_nanos)


@dataclass(frozen=True, slots=True)
class Balance:
    """Nano-units of one subject: spent in a month, and reserved now."""

    spent_nanos: int = 0
    reserved_nanos: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a subject may spend in a calendar month (UTC), in nano-units of the ledger's currency.

    soft_nanos: when it is passed, the operator is told once in that month. hard_nanos: what would
    pass it is refused. webhook: where the warning is sent as well.
    """

    id: BudgetId
    scope: Scope
    subject: str
    soft_nanos: int | None = None
    hard_nanos: int | None = None
    webhook: str = ""
    # The tenant whose admins may change it.
    organisation: OrganisationId = DEFAULT_ORGANISATION


@dataclass(frozen=True, slots=True)
class Cap:
    """A hard cap that a reservation has to fit under, in the month of that time."""

    scope: Scope
    subject: str
    nanos: int


@dataclass(frozen=True, slots=True)
class CapReached:
    """Why nothing was reserved."""

    cap: Cap
    # What is neither spent nor reserved of it.
    remaining_nanos: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in the books that does not add up."""

    what: str
    subject: str
    expected: int
    found: int


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """Usage summed over rows that share the group's value."""

    # Value of what was grouped by: a model name, a key id, a user id or a day ("2026-11-23").
    group: str
    requests: int
    usage: Usage
    cost: Money


class Dimension(StrEnum):
    """What usage can be told apart by."""

    ORGANISATION = "organisation_id"
    PROJECT = "project_id"
    USER = "user_id"
    KEY = "api_key_id"
    MODEL = "model"
    TIER = "service_tier"
    UPSTREAM = "upstream"
    JOB = "job_id"


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which rows to sum, and how: since <= at < until, in buckets of whole minutes."""

    since: float
    until: float
    bucket_minutes: int
    group_by: tuple[Dimension, ...]
    # Each names the values that count; what is not named is not looked at.
    only: Mapping[Dimension, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class UsageBucket:
    """Sums over the rows of one span of time and one group."""

    # Unix seconds, a multiple of the bucket's length.
    start: int
    # In the order of the query's `group_by`; None where rows have no such value.
    group: tuple[str | None, ...]
    requests: int
    usage: Usage
    gpu_millis: int
    saved_nanos: int
    cost: Money
