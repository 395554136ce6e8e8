"""Keeps `ledger.ports.LedgerStore` in SQL."""

from typing import Any

from sqlalchemy import Column, func, select

from tokenyard.ledger.ports import GroupBy
from tokenyard.ledger.records import UsageRow, UsageTotal
from tokenyard.storage.days import day_text
from tokenyard.storage.sql import rows
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.schema import usage_rows
from tokenyard.storage.sql.writer import Addition, GroupWriter, insert_new
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.ids import ProjectId
from tokenyard.vocabulary.money import Money

NEW_USAGE = insert_new(usage_rows)


class SqlLedgerStore:
    """Usage rows; those that come at the same time become one statement."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def add_usage(self, row: UsageRow) -> bool:
        """Store the row; False, and nothing written, when its id is already there."""
        return await self._writer.write(Addition(NEW_USAGE, rows.write_usage_row(row)))

    async def total_usage(
        self, project: ProjectId, *, since: float, until: float, group_by: GroupBy
    ) -> list[UsageTotal]:
        """Sums over rows with since <= at < until, ordered by group; days are in UTC."""
        table = usage_rows.c
        group = _column(group_by)
        query = (
            select(
                group.label("value"),
                table.currency,
                func.count().label("requests"),
                func.sum(table.prompt_tokens).label("prompt"),
                func.sum(table.completion_tokens).label("completion"),
                func.sum(table.cached_tokens).label("cached"),
                func.sum(table.reasoning_tokens).label("reasoning"),
                func.sum(table.cost_nanos).label("nanos"),
            )
            .where(table.project_id == project, table.at >= since, table.at < until)
            .group_by(group, table.currency)
        )
        totals = [
            # Sums of 64-bit integers come back as decimals from some databases.
            UsageTotal(
                group=_group_text(group_by, row.value),
                requests=row.requests,
                usage=Usage(
                    prompt_tokens=int(row.prompt),
                    completion_tokens=int(row.completion),
                    cached_tokens=int(row.cached),
                    reasoning_tokens=int(row.reasoning),
                ),
                cost=Money(int(row.nanos), row.currency),
            )
            for row in await self._readers.all(query)
        ]
        # Sorted here, since each database has an order of its own for text.
        return sorted(totals, key=lambda total: (total.group, total.cost.currency))

    async def spent_nanos(
        self, project: ProjectId, *, currency: str, since: float, until: float
    ) -> int:
        """The cost of the project's rows in that currency with since <= at < until."""
        table = usage_rows.c
        query = select(func.sum(table.cost_nanos)).where(
            table.project_id == project,
            table.currency == currency,
            table.at >= since,
            table.at < until,
        )
        row = await self._readers.first(query)
        return 0 if row is None else int(row[0] or 0)

    async def spent_by_project(
        self, *, currency: str, since: float, until: float
    ) -> dict[ProjectId, int]:
        """The same for every project that has such rows."""
        table = usage_rows.c
        query = (
            select(table.project_id, func.sum(table.cost_nanos).label("nanos"))
            .where(table.currency == currency, table.at >= since, table.at < until)
            .group_by(table.project_id)
        )
        found = await self._readers.all(query)
        return {ProjectId(row.project_id): int(row.nanos) for row in found}


def _column(group_by: GroupBy) -> Column[Any]:
    match group_by:
        case GroupBy.MODEL:
            return usage_rows.c.model
        case GroupBy.KEY:
            return usage_rows.c.key_id
        case GroupBy.USER:
            return usage_rows.c.user_id
        case GroupBy.DAY:
            return usage_rows.c.day


def _group_text(group_by: GroupBy, value: str | int | None) -> str:
    if group_by is GroupBy.DAY:
        return day_text(int(value or 0))
    return "" if value is None else str(value)
