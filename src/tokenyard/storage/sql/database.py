"""What every database promises the stores, and the threads that read from it.

A database is a SQLite file (`sqlite`) or a Postgres server (`postgres`). In both, transactions that
write run one at a time, whichever process they come from: a store may read, decide and write, and
no other writer comes in between. Decides nothing about tables.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, Row, Select
from sqlalchemy.exc import SQLAlchemyError

from tokenyard.runtime.storage_settings import StorageSettings
from tokenyard.storage.sql.failures import explain, is_lost
from tokenyard.storage.sql.outage import ConnectionLost, Outage
from tokenyard.vocabulary.errors import StartError, Unavailable
from tokenyard.vocabulary.reasons import Reason

T = TypeVar("T")


class Database(Protocol):
    """A file or a server. All of it blocks, and belongs into a thread."""

    @property
    def name(self) -> str:
        """What it is called in messages; holds no password."""
        ...

    def make_ready(self) -> bool:
        """Find it, or make it; False when that may succeed a moment later.

        Raises StartError, with what to do, when it cannot be used.
        """
        ...

    def refuse(self) -> StartError:
        """Why the start is given up when `make_ready` was False for too long."""
        ...

    def find_revision(self) -> str | None:
        """The newest migration that the database has seen; None when it has seen none."""
        ...

    def connect_migrator(self) -> Engine:
        """One connection for migrations; nobody else writes while it is in a transaction."""
        ...

    def connect_writer(self) -> Engine:
        """One connection that shuts out all other writers from the start of a transaction."""
        ...

    def connect_readers(self) -> Engine:
        """Connections that cannot write; what one transaction reads is of one moment."""
        ...

    def check_references(self, connection: Connection) -> None:
        """Raises StartError when migrations left a row that refers to nothing."""
        ...

    def explain_migration(self, error: BaseException) -> StartError:
        """Why the tables could not be brought up to date, and what to do."""
        ...


class Readers:
    """A few threads, each with a connection that can only read."""

    def __init__(self, engine: Engine, settings: StorageSettings, outage: Outage) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(settings.readers, thread_name_prefix="storage-reader")
        self._queued_max = settings.readers + settings.queued_reads_max
        self._outage = outage
        self._asked = 0

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query; it sees all that was committed before. It may run twice.

        Raises Unavailable when too many reads wait or the database stays away, and what
        `failures.explain` makes of the rest.
        """
        if self._asked >= self._queued_max:
            raise Unavailable(
                "Too many reads wait for the database.",
                reason=Reason.QUEUE_FULL,
                retry_after_seconds=1.0,
            )
        loop = asyncio.get_running_loop()
        self._asked += 1
        try:
            while True:
                self._outage.check()
                try:
                    found = await loop.run_in_executor(self._threads, self._read, query)
                except ConnectionLost as lost:
                    await self._outage.wait(lost)
                else:
                    self._outage.end()
                    return found
        finally:
            self._asked -= 1

    async def first(self, statement: Select[Any], **values: Any) -> Row[Any] | None:
        """The first row of a query, or None."""
        return await self.read(lambda connection: connection.execute(statement, values).first())

    async def all(self, statement: Select[Any], **values: Any) -> Sequence[Row[Any]]:
        """Every row of a query, which limits them itself."""
        return await self.read(lambda connection: connection.execute(statement, values).all())

    def close(self) -> None:
        """Close the connections; a query that still runs ends first."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._engine.dispose()

    def _read(self, query: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection:
                return query(connection)
        except SQLAlchemyError as error:
            if is_lost(error):
                raise ConnectionLost from error
            raise explain(error) from error
