"""What became of a transaction whose commit was not heard: a writer signs each one in its own row.

Postgres' own number of a transaction would not do: a server that is killed before the transaction
reached its log gives the same number to another one. SQLite's writer hears of every commit and
signs nothing.
"""

from dataclasses import dataclass

from sqlalchemy import Column, Connection, Date, String, Table, func, select, text

from tokenyard.storage.sql.dialect import insert_or_update
from tokenyard.storage.sql.metadata import metadata

# One row for each process that writes into Postgres: what it has committed last.
writers = Table(
    "writers",
    metadata,
    Column("id", String, primary_key=True),
    Column("last_commit", String, nullable=False),
    Column("written_on", Date, nullable=False, server_default=func.current_date()),
)

# Where a connection keeps the name of its transaction (`Connection.info`).
_NAME = "tokenyard_transaction"
_SIGN = insert_or_update(writers, [writers.c.id], [writers.c.last_commit, writers.c.written_on])
# A row is looked at moments after it was written; one of these belongs to nobody who needs it.
_FORGET = text("DELETE FROM writers WHERE written_on < current_date - 30")


@dataclass(frozen=True, slots=True)
class TransactionName:
    """A transaction of one writer; neither name is ever used again."""

    writer: str
    transaction: str


class Signature:
    """Of one writer, which is called as its first transaction is."""

    def __init__(self) -> None:
        self._writer: str | None = None

    def name(self, connection: Connection, transaction: str) -> None:
        """Say how the transaction is called that has begun."""
        if self._writer is None:
            connection.execute(_FORGET)
            self._writer = transaction
        connection.info[_NAME] = TransactionName(self._writer, transaction)


def sign_transaction(connection: Connection) -> TransactionName | None:
    """Leave the name of the transaction that runs, as a part of it; None where it has none."""
    name: TransactionName | None = connection.info.get(_NAME)
    if name is not None:
        connection.execute(_SIGN, {"id": name.writer, "last_commit": name.transaction})
    return name


def was_committed(connection: Connection, name: TransactionName) -> bool:
    """What became of a signed transaction whose end was not heard, and after which none came.

    Must be asked inside a transaction of the writer: the lock shows that the other one has ended.
    """
    last = select(writers.c.last_commit).where(writers.c.id == name.writer)
    return connection.execute(last).scalar() == name.transaction
