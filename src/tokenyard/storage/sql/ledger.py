"""Keeps `ledger.ports.LedgerStore` in SQL."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, bindparam, func, select, tuple_

from tokenyard.ledger.months import period_of
from tokenyard.ledger.ports import GroupBy
from tokenyard.ledger.records import (
    Balance,
    Budget,
    Cap,
    CapReached,
    Dimension,
    Fault,
    Reservation,
    Scope,
    Subject,
    UsageBucket,
    UsageQuery,
    UsageRow,
    UsageTotal,
)
from tokenyard.ledger.rules.journal import enter_adjustment
from tokenyard.storage.days import day_text
from tokenyard.storage.refusals import too_many_buckets
from tokenyard.storage.sql import journal, rows
from tokenyard.storage.sql.database import Readers
from tokenyard.storage.sql.dialect import insert_or_ignore, insert_or_update
from tokenyard.storage.sql.ledger_check import check_books
from tokenyard.storage.sql.ledger_tables import (
    ledger_balances,
    ledger_budgets,
    ledger_entries,
    ledger_holders,
    ledger_open,
    ledger_warnings,
)
from tokenyard.storage.sql.schema import usage_rows
from tokenyard.storage.sql.writer import GroupWriter, run
from tokenyard.vocabulary.generation import Usage
from tokenyard.vocabulary.ids import BudgetId, OrganisationId, ProjectId, ReservationId
from tokenyard.vocabulary.money import Money

_HOLD = insert_or_update(ledger_holders, [ledger_holders.c.id], [ledger_holders.c.until])
_FORGET_HOLDERS = ledger_holders.delete().where(ledger_holders.c.until < bindparam("b_before"))
# Holders are forgotten long after they are gone, so that the table stays small.
_HOLDERS_KEPT_SECONDS = 86_400.0
_WARN = insert_or_ignore(ledger_warnings, ledger_warnings.c.id)
_DIMENSIONS: dict[Dimension, Column[Any]] = {
    Dimension.ORGANISATION: usage_rows.c.organisation_id,
    Dimension.PROJECT: usage_rows.c.project_id,
    Dimension.USER: usage_rows.c.user_id,
    Dimension.KEY: usage_rows.c.key_id,
    Dimension.MODEL: usage_rows.c.model,
    Dimension.TIER: usage_rows.c.tier,
    Dimension.UPSTREAM: usage_rows.c.upstream,
    Dimension.JOB: usage_rows.c.job_id,
}
_SUMS = (
    func.count().label("requests"),
    func.sum(usage_rows.c.prompt_tokens).label("prompt"),
    func.sum(usage_rows.c.completion_tokens).label("completion"),
    func.sum(usage_rows.c.cached_tokens).label("cached"),
    func.sum(usage_rows.c.reasoning_tokens).label("reasoning"),
    func.sum(usage_rows.c.gpu_millis).label("gpu_millis"),
    func.sum(usage_rows.c.saved_nanos).label("saved"),
    func.sum(usage_rows.c.cost_nanos).label("nanos"),
)


class SqlLedgerStore:
    """The journal and usage rows; those that come at the same time become a few statements."""

    def __init__(self, readers: Readers, writer: GroupWriter) -> None:
        self._readers = readers
        self._writer = writer

    async def reserve(self, reservation: Reservation, caps: Sequence[Cap]) -> CapReached | None:
        """Reserve if that fits under every cap, in one step with the look at the balances."""
        return await self._writer.write(
            lambda connection: journal.reserve_under_caps(connection, reservation, caps)
        )

    def post_reservation(
        self, reservation: Reservation, failed: Callable[[Exception], None]
    ) -> None:
        """Enter a reservation that no cap concerns."""
        self._writer.post(journal.post(reservation), failed)

    def post_release(
        self, reservation: ReservationId, at: float, failed: Callable[[Exception], None]
    ) -> None:
        """Give back what was reserved; nothing when the reservation has ended."""
        self._writer.post(journal.post(journal.Released(reservation, at)), failed)

    async def add_usage(self, row: UsageRow) -> bool:
        """Store the row and settle it; False, and nothing written, when its id is there."""
        return await self._writer.write(journal.post(row))

    async def adjust(self, row: str, id: str, nanos: int, at: float, note: str) -> bool:
        """Correct a bill by an entry of that id."""

        def change(connection: Connection) -> bool:
            bill = connection.execute(select(usage_rows).where(usage_rows.c.id == row)).first()
            if bill is None:
                return False
            entry = enter_adjustment(rows.read_usage_row(bill), id, nanos, at, note)
            there = select(ledger_entries.c.id).where(ledger_entries.c.id == entry.id)
            if connection.execute(there).first() is not None:
                return False
            journal.write_entries(connection, [entry])
            return True

        return await self._writer.write(change)

    async def find_reservation(self, work: str) -> tuple[ReservationId, str, int] | None:
        """An open reservation of that work: its id, its holder and its nano-units."""
        row = await self._readers.first(
            select(ledger_open).where(ledger_open.c.work == work).limit(1)
        )
        return None if row is None else (ReservationId(row.id), row.holder, int(row.nanos))

    async def take_over(self, reservation: ReservationId, holder: str) -> bool:
        """Let another process answer for a reservation; False when it has ended."""
        statement = ledger_open.update().where(ledger_open.c.id == reservation)
        return await self._writer.write(run(statement.values(holder=holder))) == 1

    async def hold(self, holder: str, until: float) -> None:
        """Say that a process lives, and until when to believe it."""

        def change(connection: Connection) -> None:
            connection.execute(_HOLD, {"id": holder, "until": until})
            connection.execute(_FORGET_HOLDERS, {"b_before": until - _HOLDERS_KEPT_SECONDS})

        await self._writer.write(change)

    async def release_abandoned(self, now: float, *, limit: int) -> int:
        """Give back what is reserved by processes that are no more."""
        living = select(ledger_holders.c.id).where(ledger_holders.c.until > now)
        lost = select(ledger_open.c.id).where(ledger_open.c.holder.not_in(living)).limit(limit)

        def change(connection: Connection) -> int:
            ends = [
                journal.Released(ReservationId(found), now, "its process is gone")
                for found in connection.execute(lost).scalars()
            ]
            return sum(journal.enter(connection, ends)) if ends else 0

        return await self._writer.write(change)

    async def balances(
        self, subjects: Sequence[Subject], *, at: float, currency: str
    ) -> dict[Subject, Balance]:
        """What they spent in the month of that time, and have reserved now."""
        if not subjects:
            return {}
        table = ledger_balances.c
        wanted = [(scope.value, subject) for scope, subject in subjects]
        query = select(ledger_balances).where(
            tuple_(table.scope, table.subject).in_(wanted),
            table.period.in_([journal.RESERVED, period_of(at)]),
            table.currency == currency,
        )
        found = journal.sum_balances(await self._readers.all(query))
        return {subject: found.get(subject, Balance()) for subject in subjects}

    async def total_usage(
        self, project: ProjectId, *, since: float, until: float, group_by: GroupBy
    ) -> list[UsageTotal]:
        """Sums over rows with since <= at < until, ordered by group; days are in UTC."""
        table = usage_rows.c
        group = _column(group_by)
        query = (
            select(group.label("value"), table.currency, *_SUMS)
            .where(table.project_id == project, table.at >= since, table.at < until)
            .group_by(group, table.currency)
        )
        totals = [
            UsageTotal(_group_text(group_by, row.value), row.requests, _usage(row), _cost(row))
            for row in await self._readers.all(query)
        ]
        # Sorted here, since each database has an order of its own for text.
        return sorted(totals, key=lambda total: (total.group, total.cost.currency))

    async def usage_buckets(self, query: UsageQuery, *, limit: int) -> list[UsageBucket]:
        """Sums over rows by time and group; raises InvalidRequest beyond `limit`."""
        found = await self._readers.all(_buckets(query).limit(limit + 1))
        if len(found) > limit:
            raise too_many_buckets(limit)
        return [_read_bucket(row, query) for row in found]

    async def list_budgets(self) -> list[Budget]:
        """Every budget, by scope and subject."""
        found = await self._readers.all(select(ledger_budgets))
        budgets = [_read_budget(row) for row in found]
        return sorted(budgets, key=lambda budget: (budget.scope, budget.subject))

    async def put_budget(self, budget: Budget) -> None:
        """Store a budget in place of the one with its scope and subject."""
        table = ledger_budgets.c

        def change(connection: Connection) -> None:
            connection.execute(
                ledger_budgets.delete().where(
                    table.organisation_id == budget.organisation,
                    table.scope == budget.scope.value,
                    table.subject == budget.subject,
                )
            )
            connection.execute(ledger_budgets.insert(), _budget_values(budget))

        await self._writer.write(change)

    async def delete_budget(self, budget: BudgetId) -> bool:
        """Forget a budget; False when there is none of that id."""
        statement = ledger_budgets.delete().where(ledger_budgets.c.id == budget)
        return await self._writer.write(run(statement)) == 1

    async def note_warning(self, id: str, at: float) -> bool:
        """Remember that a warning is given; True for exactly one caller."""
        return await self._writer.write(run(_WARN, id=id, at=at)) == 1

    async def check(self, *, limit: int) -> list[Fault]:
        """Prove the books."""
        return await self._readers.read(lambda connection: check_books(connection, limit))


def _buckets(query: UsageQuery) -> Select[Any]:
    table = usage_rows.c
    start = (table.minute // query.bucket_minutes).label("start")
    groups = [
        _DIMENSIONS[dimension].label(f"group_{place}")
        for place, dimension in enumerate(query.group_by)
    ]
    wanted = [table.at >= query.since, table.at < query.until]
    wanted += [_DIMENSIONS[name].in_(values) for name, values in query.only.items()]
    return (
        select(start, *groups, table.currency, *_SUMS)
        .where(*wanted)
        .group_by(start, *groups, table.currency)
        .order_by(start, *groups, table.currency)
    )


def _read_bucket(row: Row[Any], query: UsageQuery) -> UsageBucket:
    return UsageBucket(
        start=int(row.start) * query.bucket_minutes * 60,
        group=tuple(row._mapping[f"group_{place}"] for place in range(len(query.group_by))),
        requests=row.requests,
        usage=_usage(row),
        gpu_millis=int(row.gpu_millis),
        saved_nanos=int(row.saved),
        cost=_cost(row),
    )


def _usage(row: Row[Any]) -> Usage:
    # Sums of 64-bit integers come back as decimals from some databases.
    return Usage(
        prompt_tokens=int(row.prompt),
        completion_tokens=int(row.completion),
        cached_tokens=int(row.cached),
        reasoning_tokens=int(row.reasoning),
    )


def _cost(row: Row[Any]) -> Money:
    return Money(int(row.nanos), row.currency)


def _read_budget(row: Row[Any]) -> Budget:
    return Budget(
        id=BudgetId(row.id),
        scope=Scope(row.scope),
        subject=row.subject,
        soft_nanos=row.soft_nanos,
        hard_nanos=row.hard_nanos,
        webhook=row.webhook,
        organisation=OrganisationId(row.organisation_id),
    )


def _budget_values(budget: Budget) -> rows.Values:
    return {
        "id": budget.id,
        "organisation_id": budget.organisation,
        "scope": budget.scope.value,
        "subject": budget.subject,
        "soft_nanos": budget.soft_nanos,
        "hard_nanos": budget.hard_nanos,
        "webhook": budget.webhook,
    }


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
