"""What the ledger needs from a store; `storage` keeps it in memory and SQL."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from tokenyard.ledger.records import (
    Balance,
    Budget,
    Cap,
    CapReached,
    Fault,
    Reservation,
    Subject,
    UsageBucket,
    UsageQuery,
    UsageRow,
    UsageTotal,
)
from tokenyard.vocabulary.ids import BudgetId, ProjectId, ReservationId


class GroupBy(StrEnum):
    """What usage of a project can be summed by."""

    MODEL = "model"
    KEY = "key"
    USER = "user"
    DAY = "day"


class LedgerStore(Protocol):
    """A durable journal, the usage rows that it bills, and sums over both.

    A call that returns has been committed. What is posted is entered soon, in the order in which
    it was posted and before all later calls; `failed` hears when it could not be.
    """

    async def reserve(self, reservation: Reservation, caps: Sequence[Cap]) -> CapReached | None:
        """Reserve if that fits under every cap, in one step with the look at the balances."""
        ...

    def post_reservation(
        self, reservation: Reservation, failed: Callable[[Exception], None]
    ) -> None:
        """Enter a reservation that no cap concerns."""
        ...

    def post_release(
        self, reservation: ReservationId, at: float, failed: Callable[[Exception], None]
    ) -> None:
        """Give back what was reserved; nothing when the reservation has ended."""
        ...

    async def add_usage(self, row: UsageRow) -> bool:
        """Store the row and settle it; False, and nothing written, when its id is already there.

        Frees the row's reservation if it is still open. The row is written even when the caller is
        cancelled while it waits.
        """
        ...

    async def adjust(self, row: str, id: str, nanos: int, at: float, note: str) -> bool:
        """Correct a bill by an entry of that id; False when there is no such row, or the id is."""
        ...

    async def find_reservation(self, work: str) -> tuple[ReservationId, str, int] | None:
        """An open reservation of that work: its id, its holder and its nano-units."""
        ...

    async def take_over(self, reservation: ReservationId, holder: str) -> bool:
        """Let another process answer for a reservation; False when it has ended."""
        ...

    async def hold(self, holder: str, until: float) -> None:
        """Say that a process lives, and until when to believe it."""
        ...

    async def release_abandoned(self, now: float, *, limit: int) -> int:
        """Give back what is reserved by processes that are no more; returns how many there were."""
        ...

    async def balances(
        self, subjects: Sequence[Subject], *, at: float, currency: str
    ) -> dict[Subject, Balance]:
        """What they spent in the month of that time, and have reserved now."""
        ...

    async def total_usage(
        self, project: ProjectId, *, since: float, until: float, group_by: GroupBy
    ) -> list[UsageTotal]:
        """Sums over rows with since <= at < until, ordered by group; days are in UTC.

        Rows without a key (web sessions) have the group "". Amounts of two currencies are never
        summed: a group has one total for each of its currencies.
        """
        ...

    async def usage_buckets(self, query: UsageQuery, *, limit: int) -> list[UsageBucket]:
        """Sums over rows by time and group, in that order; raises InvalidRequest beyond `limit`."""
        ...

    async def list_budgets(self) -> list[Budget]:
        """Every budget, by scope and subject."""
        ...

    async def put_budget(self, budget: Budget) -> None:
        """Store a budget in place of the one with its scope and subject."""
        ...

    async def delete_budget(self, budget: BudgetId) -> bool:
        """Forget a budget; False when there is none of that id."""
        ...

    async def note_warning(self, id: str, at: float) -> bool:
        """Remember that a warning is given; True for exactly one caller."""
        ...

    async def check(self, *, limit: int) -> list[Fault]:
        """Prove the books: every balance is the sum of its rows, every bill is settled once."""
        ...
