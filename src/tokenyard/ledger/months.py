"""The calendar of budgets: months in UTC as spans of Unix seconds."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC: since <= at < until, in Unix seconds."""

    since: float
    until: float

    def holds(self, at: float) -> bool:
        return self.since <= at < self.until


def month_of(at: float) -> Month:
    """The month in which that time (Unix seconds) lies."""
    day = datetime.fromtimestamp(at, UTC)
    first = datetime(day.year, day.month, 1, tzinfo=UTC)
    after = (
        datetime(day.year + 1, 1, 1, tzinfo=UTC)
        if day.month == 12
        else datetime(day.year, day.month + 1, 1, tzinfo=UTC)
    )
    return Month(first.timestamp(), after.timestamp())


def period_of(at: float) -> int:
    """The number of the month (UTC) in which that time lies: 12 * year + month - 1."""
    return _period_of_hour(int(at // 3600))


@lru_cache(maxsize=64)
def _period_of_hour(hour: int) -> int:
    # Months begin with an hour, and most bills are of this one.
    day = datetime.fromtimestamp(3600 * hour, UTC)
    return 12 * day.year + day.month - 1
