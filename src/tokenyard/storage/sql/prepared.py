"""Statements of the hot path, whose words and order of values are made once.

To SQLite rows go as they are, in a tenth of the time that it takes to look at each value first;
so they hold nothing but texts and numbers. Other databases take the usual way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Insert, Table
from sqlalchemy.sql.dml import ReturningInsert

from tokenyard.storage.sql.dialect import POSTGRES, insert_or_ignore

Values = dict[str, Any]
# The most rows in one statement: SQLite takes 32,766 values at a time.
_ROWS_POWER_MAX = 6


@dataclass(slots=True)
class Prepared:
    """An insertion of rows that all have the same columns."""

    statement: Insert | ReturningInsert[Any]
    _words: str = ""
    _order: tuple[str, ...] = field(default=())

    def run(self, connection: Connection, rows: Sequence[Values]) -> list[Any]:
        """Insert them, in their order; what the statement returns of each, if it does.

        Into SQLite some at a time with one statement: between two of them the driver lets go of
        the interpreter, and on a busy loop each time it has to wait until it gets it back.
        """
        if connection.dialect.name == POSTGRES:
            done = connection.execute(self.statement, rows)
            return [*done.scalars()] if done.returns_rows else []
        if not self._words:
            compiled = self.statement.compile(dialect=connection.dialect, column_keys=[*rows[0]])
            self._words, self._order = str(compiled), tuple(compiled.positiontup or ())
        order, place = self._order, 0
        told: list[Any] = []
        while place < len(rows):
            # Powers of two, so that there are few statements, which the driver keeps.
            count = 1 << min((len(rows) - place).bit_length() - 1, _ROWS_POWER_MAX)
            values = tuple([row[name] for row in rows[place : place + count] for name in order])
            done = connection.exec_driver_sql(self._words_for(count), values)
            if done.returns_rows:
                told += done.scalars()
            place += count
        return told

    def _words_for(self, count: int) -> str:
        """The statement for so many rows."""
        one = f"({', '.join('?' * len(self._order))})"
        return self._words.replace(f"VALUES {one}", f"VALUES {', '.join([one] * count)}")


@dataclass(frozen=True, slots=True)
class Insertion:
    """How rows come into a table unless their id is there. each: returns the ids that were new."""

    each: Prepared

    def add(self, connection: Connection, rows: Sequence[Values]) -> list[bool]:
        """Insert rows; which of them were new. Of two equal ids the first is the new one."""
        added = set(self.each.run(connection, rows))
        told = []
        for row in rows:
            told.append(row["id"] in added)
            added.discard(row["id"])
        return told


def insert_new(table: Table) -> Insertion:
    """The insertion into a table whose primary key is `id`."""
    return Insertion(Prepared(insert_or_ignore(table, table.c.id).returning(table.c.id)))
