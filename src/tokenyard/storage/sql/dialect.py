"""The few statements that SQLite and Postgres do not share word for word, in one place.

SQLite took its `ON CONFLICT` from Postgres, so that one construct serves both. What truly differs,
such as a full-text search, is a `Pair`. Decides nothing about tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Connection, Insert, Table
from sqlalchemy.dialects.postgresql import insert

POSTGRES = "postgresql"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pair(Generic[T]):
    """The same thing said to each of the two."""

    sqlite: T
    postgres: T

    def of(self, connection: Connection) -> T:
        """The one that this database understands."""
        return self.postgres if connection.dialect.name == POSTGRES else self.sqlite


def insert_or_ignore(table: Table, *keys: Column[Any]) -> Insert:
    """A row that comes into a table unless its key is there; `rowcount` tells which.

    keys: the columns of the primary key or of a unique constraint.
    """
    statement = insert(table).on_conflict_do_nothing(index_elements=list(keys))
    # Otherwise Postgres' driver has forgotten it by the time that somebody asks.
    return statement.execution_options(preserve_rowcount=True)


def insert_or_update(
    table: Table, keys: Sequence[Column[Any]], changed: Sequence[Column[Any]]
) -> Insert:
    """A row that comes into a table, or where its key is there, changes those columns of it."""
    statement = insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(keys),
        set_={column.name: statement.excluded[column.name] for column in changed},
    )


def add_or_insert(table: Table, keys: Sequence[Column[Any]], amount: Column[Any]) -> Insert:
    """A row that comes into a table, or where its key is there, adds to that number of it."""
    statement = insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(keys), set_={amount.name: amount + statement.excluded[amount.name]}
    )
