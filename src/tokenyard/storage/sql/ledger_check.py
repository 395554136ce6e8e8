"""Proves the books: what `tokenyard ledger check` reads, in one snapshot of the database.

Every balance is compared with the sum of its entries, every usage row with its settlement, and
every open reservation with the money that the journal holds for it. Changes nothing.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Column, Connection, func, literal, select

from tokenyard.ledger.records import EntryKind, Fault, Scope
from tokenyard.storage.sql.journal import RESERVED
from tokenyard.storage.sql.ledger_tables import ledger_balances, ledger_entries, ledger_open
from tokenyard.storage.sql.schema import usage_rows

_entries = ledger_entries.c
_COLUMNS: dict[Scope, Column[Any]] = {
    Scope.ORGANISATION: _entries.organisation_id,
    Scope.PROJECT: _entries.project_id,
    Scope.USER: _entries.user_id,
    Scope.KEY: _entries.key_id,
}
Place = tuple[str, int, str]


def check_books(connection: Connection, limit: int) -> list[Fault]:
    """The first `limit` faults; none means that the books are right."""
    found: list[Fault] = []
    for faults in (
        _unbalanced(connection),
        _unsettled(connection),
        _loose(connection),
        *(_wrong_balances(connection, scope) for scope in Scope),
    ):
        for fault in faults:
            if len(found) >= limit:
                return found
            found.append(fault)
    return found


def _unbalanced(connection: Connection) -> Iterator[Fault]:
    """Entries that do not sum to zero."""
    total = _entries.available_nanos + _entries.reserved_nanos + _entries.spent_nanos
    for row in connection.execute(select(_entries.id, total.label("total")).where(total != 0)):
        yield Fault("entry does not sum to zero", row.id, 0, int(row.total))


def _unsettled(connection: Connection) -> Iterator[Fault]:
    """Usage rows without the settlement of their cost, and settlements without a usage row."""
    bill = usage_rows.c
    settled = _entries.id == bill.id + literal(f"/{EntryKind.SETTLE}")
    missing = (
        select(bill.id, bill.cost_nanos, _entries.spent_nanos)
        .select_from(usage_rows.outerjoin(ledger_entries, settled))
        .where(_entries.id.is_(None) | (_entries.spent_nanos != bill.cost_nanos))
    )
    for row in connection.execute(missing):
        yield Fault("bill is not settled", row.id, int(row.cost_nanos), int(row.spent_nanos or 0))
    orphans = (
        select(_entries.id, _entries.spent_nanos)
        .select_from(ledger_entries.outerjoin(usage_rows, settled))
        .where(_entries.kind == EntryKind.SETTLE.value, bill.id.is_(None))
    )
    for orphan in connection.execute(orphans):
        yield Fault("settlement has no bill", orphan.id, 0, int(orphan.spent_nanos))


def _loose(connection: Connection) -> Iterator[Fault]:
    """Reserved money that no open reservation accounts for, or the reverse."""
    held = select(ledger_open.c.currency, func.sum(ledger_open.c.nanos)).group_by(
        ledger_open.c.currency
    )
    entered = select(_entries.currency, func.sum(_entries.reserved_nanos)).group_by(
        _entries.currency
    )
    expected = {row[0]: int(row[1]) for row in connection.execute(held)}
    found = {row[0]: int(row[1]) for row in connection.execute(entered)}
    for currency in sorted({*expected, *found}):
        if expected.get(currency, 0) != found.get(currency, 0):
            yield Fault(
                "reserved money differs from the open reservations",
                currency,
                expected.get(currency, 0),
                found.get(currency, 0),
            )


def _wrong_balances(connection: Connection, scope: Scope) -> Iterator[Fault]:
    """Balances that are not the sum of their entries."""
    column, table = _COLUMNS[scope], ledger_balances.c
    spent = select(column, _entries.period, _entries.currency, func.sum(_entries.spent_nanos))
    reserved = select(
        column, literal(RESERVED), _entries.currency, func.sum(_entries.reserved_nanos)
    )
    sums = _read(
        [
            *connection.execute(
                spent.where(column.is_not(None)).group_by(
                    column, _entries.period, _entries.currency
                )
            ),
            *connection.execute(
                reserved.where(column.is_not(None)).group_by(column, _entries.currency)
            ),
        ]
    )
    kept = _read(
        connection.execute(
            select(table.subject, table.period, table.currency, table.nanos).where(
                table.scope == scope.value
            )
        )
    )
    for place in sorted({*sums, *kept}):
        expected, found = sums.get(place, 0), kept.get(place, 0)
        if expected != found:
            subject, period, currency = place
            month = "reserved" if period == RESERVED else f"{period // 12}-{period % 12 + 1:02}"
            yield Fault(
                "balance is not the sum of its entries",
                f"{scope} {subject} {month} {currency}",
                expected,
                found,
            )


def _read(found: Iterable[Any]) -> dict[Place, int]:
    return {(row[0], int(row[1]), row[2]): int(row[3]) for row in found}
