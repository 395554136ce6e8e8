"""What the ledger needs from a store; memory and SQL in `storage` both keep it."""

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
        """Store the row; False, and nothing written, when its id is already there."""
        ...

    async def total_usage(
        self, project: ProjectId, *, since: float, until: float, group_by: GroupBy
    ) -> list[UsageTotal]:
        """Sums over rows with since <= at < until, ordered by group; days are in UTC."""
        ...

    async def spent_nanos(self, project: ProjectId, *, since: float, until: float) -> int:
        """The cost of those rows, in nano-units."""
        ...
