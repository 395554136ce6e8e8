"""What the ledger needs from a store; `storage.memory` and `storage.sql` keep this contract."""

from enum import StrEnum
from typing import Protocol

from tokenyard.ledger.records import UsageRow, UsageTotal
from tokenyard.vocabulary.ids import ProjectId


class GroupBy(StrEnum):
    """What usage can be summed by."""

    MODEL = "model"
    KEY = "key"
    USER = "user"
    DAY = "day"


class LedgerStore(Protocol):
    """Durable usage rows. A call that returns has been committed."""

    async def add_usage(self, row: UsageRow) -> bool:
        """Store the row; False, and nothing written, when its id is already there.

        The row is written even when the caller is cancelled while it waits.
        """
        ...

    async def total_usage(
        self, project: ProjectId, *, since: float, until: float, group_by: GroupBy
    ) -> list[UsageTotal]:
        """Sums over rows with since <= at < until, ordered by group; days are in UTC.

        Rows without a key (web sessions) have the group "". Amounts of two currencies are never
        summed: a group has one total for each of its currencies.
        """
        ...

    async def spent_nanos(
        self, project: ProjectId, *, currency: str, since: float, until: float
    ) -> int:
        """The cost, in nano-units, of the rows in that currency with since <= at < until."""
        ...

    async def spent_by_project(
        self, *, currency: str, since: float, until: float
    ) -> dict[ProjectId, int]:
        """The same for every project that has such rows."""
        ...
